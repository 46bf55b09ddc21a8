package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// variedFile has something of everything.
func variedFile(t *testing.T) *File {
	t.Helper()
	f := newFile(t, Options{})
	for _, module := range []string{"orders", "bills"} {
		l := openLog(t, f, module)
		tagged := fact("tagged")
		tagged.Tags = []event.Tag{{Key: "seat", Value: "A1"}, {Key: "seat", Value: "A2"}}
		system := fact("{}")
		system.Type = "ensue.mark"
		mustAppend(t, l, to("order/1", eventlog.NoStream, fact("1"), fact("2"), tagged), to("order/2", eventlog.NoStream, system),
			eventlog.LinkTo{Stream: "view/1", Positions: []eventlog.Position{2, 1, 4}}, to("view/1", eventlog.Any, fact("own")),
			eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: "c", Value: []byte("1")}},
			eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: "k"}})
		if err := errors.Join(l.TruncateStream(t.Context(), "order/1", 1), l.CloseStream(t.Context(), "order/2", eventlog.Any)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func problems(t *testing.T, f *File) (found []string) {
	t.Helper()
	for p, err := range f.Verify(context.Background()) {
		if err != nil {
			t.Fatalf("verify: %v", err)
		}
		found = append(found, p.String())
	}
	return found
}

// TestVerifyFindsDamage: each check finds what it is for, says where, and the others still run.
func TestVerifyFindsDamage(t *testing.T) {
	f := variedFile(t)
	if found := problems(t, f); len(found) > 0 {
		t.Fatalf("problems in a sound file: %q", found)
	}
	const orders, bills = int64(1) << positionBits, int64(2) << positionBits
	for name, c := range map[string]struct {
		damage string
		want   string
	}{
		"a hole":                     {fmt.Sprintf(`DELETE FROM events WHERE seq = %d`, orders+2), "orders, position 3: follows position 1"},
		"a hole at the beginning":    {fmt.Sprintf(`DELETE FROM events WHERE seq = %d`, bills+1), "bills, position 2: follows position 0"},
		"a link to nothing":          {fmt.Sprintf(`DELETE FROM events WHERE seq = %d`, bills+4), "bills, stream view/1, version 3: position 4 is linked, and there is no event"},
		"a version missing":          {fmt.Sprintf(`UPDATE events SET version = 9 WHERE seq = %d`, orders+2), "orders, stream order/1: says version 3, its last event has 9"},
		"a stream behind":            {`UPDATE streams SET version = 2 WHERE module = 1 AND name = 'order/1'`, "orders, position 3: its version is above its stream's"},
		"a stream ahead":             {`UPDATE streams SET version = 7 WHERE module = 1 AND name = 'order/1'`, "orders, stream order/1: says version 7, its last event has 3"},
		"a version twice":            {fmt.Sprintf(`UPDATE events SET version = 2 WHERE seq = %d`, orders+5), "orders, stream view/1"},
		"an event without a stream":  {`DELETE FROM streams WHERE module = 2 AND name = 'order/2'`, "bills, position 4: its stream does not exist"},
		"an event of another module": {fmt.Sprintf(`UPDATE events SET stream = (SELECT stream FROM streams WHERE module = 2 AND name = 'order/2'), version = 5 WHERE seq = %d`, orders+5), "orders, position 5: its stream belongs to another module"},
		"a type without a name":      {`DELETE FROM types WHERE name = 'fact'`, "orders, position 1: its type has no name"},
		"a mark that lies":           {fmt.Sprintf(`UPDATE events SET system = 1 WHERE seq = %d`, orders+1), `orders, position 1: type "fact" and its mark`},
		"an id that is none":         {fmt.Sprintf(`UPDATE events SET id = x'0102' WHERE seq = %d`, orders+1), "orders, position 1: its id has 2 bytes"},
		"time that goes back":        {fmt.Sprintf(`UPDATE events SET recorded = 5 WHERE seq = %d`, orders+2), "orders, position 2: was recorded before"},
		"order that goes back":       {`UPDATE events SET version = -version WHERE stream = 1; UPDATE events SET version = 4 + version WHERE stream = 1`, "orders, stream order/1, version"},
		"headers that are none":      {fmt.Sprintf(`UPDATE events SET headers = '{' WHERE seq = %d`, orders+1), "orders, position 1: its headers are no JSON"},
		"tags that are none":         {fmt.Sprintf(`UPDATE events SET tags = '[' WHERE seq = %d`, orders+3), "malformed JSON"},
		"a tag lost":                 {fmt.Sprintf(`DELETE FROM tags WHERE seq = %d AND value = 'A2'`, orders+3), "orders, position 3: is not found by its tag seat=A2"},
		"a tag made up":              {fmt.Sprintf(`INSERT INTO tags VALUES ('seat', 'B1', %d)`, orders+3), "orders, position 3: is found by tag seat=B1"},
		"a tag of nothing":           {fmt.Sprintf(`INSERT INTO tags VALUES ('seat', 'B1', %d)`, orders+99), "orders, position 99: is found by tag"},
		"a link lost":                {`DELETE FROM links WHERE version = 2`, "orders, stream view/1: versions 1 to 4 should have 4 events and links, and have 3"},
		"a link to its own stream":   {fmt.Sprintf(`UPDATE links SET seq = %d WHERE seq = %d`, orders+5, orders+2), "orders, stream view/1, version 1: position 5 is linked to its own stream"},
		"a link to another module":   {fmt.Sprintf(`UPDATE links SET seq = %d WHERE seq = %d`, bills+3, orders+2), "bills, stream view/1, version 1: position 3 is linked to a stream of another module"},
		"links miscounted":           {`UPDATE streams SET links = 1 WHERE module = 1 AND name = 'view/1'`, "orders, stream view/1: says 1 links, has 3"},
		"truncated beyond its end":   {`UPDATE streams SET truncated = 99 WHERE module = 1 AND name = 'order/1'`, "orders, stream order/1: is truncated at version 99"},
		"a revision never given":     {`UPDATE entries SET revision = 99 WHERE module = 1 AND key = 'c'`, "orders, cursor c: has revision 99; the log has given out 1 to 2"},
		"a revision given twice":     {`UPDATE entries SET revision = 2 WHERE module = 1`, "orders, c"},
		"a kind that is none":        {`UPDATE entries SET kind = 77 WHERE module = 1 AND key = 'c'`, "77 is no kind of entry"},
		"a module lost":              {`DELETE FROM modules WHERE module = 2`, "module 2, position 1: there is no such module"},
		"a table lost":               {`DROP TABLE tags`, "table tags: is missing"},
		"an index lost":              {`DROP INDEX events_id`, "index events_id: is missing"},
		"an index that is not ours":  {`DROP INDEX events_id; CREATE INDEX events_id ON events (id)`, "index events_id: is not what this program made"},
	} {
		t.Run(name, func(t *testing.T) {
			f := variedFile(t)
			damage(t, f.path, strings.Split(c.damage, "; ")...)
			found := problems(t, f)
			if !strings.Contains(strings.Join(found, "\n"), c.want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(found, "\n"), c.want)
			}
		})
	}
}

// TestVerifyFindsDamagedPages: what SQLite itself knows to be wrong is a problem, not the end of the check.
func TestVerifyFindsDamagedPages(t *testing.T) {
	f := variedFile(t)
	damage(t, f.path, `PRAGMA writable_schema = 1`, `UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'links_seq') WHERE name = 'events_id'`)
	closeFile(t, f)
	f = openFile(t, f.path, Options{ReadOnly: true})
	if found := problems(t, f); len(found) == 0 || !strings.HasPrefix(found[0], "file: ") {
		t.Errorf("found %q", found)
	}
}

// TestVerifyHasAnEnd, also on a file in which everything is wrong, and when the caller has seen enough.
func TestVerifyHasAnEnd(t *testing.T) {
	l := newLog(t, Options{})
	events := make([]event.Event, 2*maxProblems)
	for i := range events {
		events[i] = event.Event{Type: "fact"}
	}
	mustAppend(t, l, to("s", eventlog.Any, events...))
	damage(t, l.file.path, `UPDATE events SET system = 1`)
	if found := problems(t, l.file); len(found) != maxProblems+1 || !strings.Contains(found[maxProblems], "more than") {
		t.Errorf("found %d problems, the last is %s", len(found), found[len(found)-1])
	}
	for p, err := range l.file.Verify(t.Context()) {
		if err != nil {
			t.Errorf("%v, %v", p, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for p, err := range l.file.Verify(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", p, err)
		}
	}
}
