package pglog

import (
	"github.com/ensue-io/ensue/event"
)

// quick reads JSON as it is written here, without white space, and gives up at anything else, or an escape: then
// encoding/json reads it, which takes several times as long.
type quick struct {
	rest text
	lost bool
}

func (q *quick) skip(s string) {
	if q.lost = q.lost || len(q.rest) < len(s) || string(q.rest[:len(s)]) != s; !q.lost {
		q.rest = q.rest[len(s):]
	}
}

func (q *quick) text() string {
	q.skip(`"`)
	for i, c := range q.rest {
		switch {
		case q.lost || c == '\\' || c < ' ':
			q.lost = true
			return ""
		case c == '"':
			s := string(q.rest[:i])
			q.rest = q.rest[i+1:]
			return s
		}
	}
	q.lost = true
	return ""
}

// more tells whether a comma follows, and skips it.
func (q *quick) more() bool {
	if q.lost || len(q.rest) == 0 || q.rest[0] != ',' {
		return false
	}
	q.rest = q.rest[1:]
	return true
}

func quickHeaders(t text, headers *map[string]string) bool {
	q, m := quick{rest: t}, map[string]string{}
	q.skip(`{`)
	for more := true; more; more = q.more() {
		name := q.text()
		q.skip(`:`)
		m[name] = q.text()
	}
	q.skip(`}`)
	if q.lost || len(q.rest) > 0 {
		return false
	}
	*headers = m
	return true
}

func quickTags(t text, tags *[]event.Tag) bool {
	q := quick{rest: t}
	var list []event.Tag
	q.skip(`[`)
	for more := true; more; more = q.more() {
		var tag event.Tag
		q.skip(`{"key":`)
		tag.Key = q.text()
		q.skip(`,"value":`)
		tag.Value = q.text()
		q.skip(`}`)
		list = append(list, tag)
	}
	q.skip(`]`)
	if q.lost || len(q.rest) > 0 {
		return false
	}
	*tags = list
	return true
}
