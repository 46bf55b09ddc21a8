package event_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
)

func TestNewIDsAreVersion7AndGrow(t *testing.T) {
	before := event.NewID()
	for range 1000 {
		id := event.NewID()
		if id[6]>>4 != 7 || id[8]>>6 != 2 || id.String() <= before.String() {
			t.Fatalf("%v follows %v", id, before)
		}
		before = id
	}
}

// Commands' ids are derived: these values are in users' stores and never change.
func TestDerivedIDsAreForEver(t *testing.T) {
	for want, parts := range map[string][]string{
		"753046e8-f444-5b8a-af6c-5ec8d5d4617a": nil, "3dfd5a67-cf20-5b82-b553-fd58e586664f": {""}, "a40be835-a63a-575b-aeb4-dfe7c63b77c3": {"", ""}, "903fb205-14fb-5d51-a0d9-60527008e9d8": {"a"}, "33afba92-c295-5b9e-9bf4-025fdfcf3eab": {"a", "b-c"}, "3f5ad973-10be-5fff-8dd3-d8549de3ea5a": {"a-b", "c"}, "7672c34d-1d04-5bd4-b5df-8da80d4970c0": {"ab", "-c"}, "e0bc5b17-9142-5884-a7df-ecf98a8c085a": {"fine-collection", "A1", "Grüße 世界", "0"},
	} {
		if got := event.DeriveID(parts...).String(); got != want {
			t.Errorf("DeriveID(%q) is %s, and was %s", parts, got, want)
		}
	}
}

func TestDerivedIDsOfDifferentPartsDiffer(t *testing.T) {
	parts := []string{"", "a", "b", "ab", "\x00", "\x00\x00\x00\x00\x00\x00\x00\x01a"}
	seen := map[event.ID][]string{}
	see := func(parts ...string) {
		id := event.DeriveID(parts...)
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q have the same id", parts, other)
		}
		seen[id] = parts
		if id[6]>>4 != 5 || id != event.DeriveID(parts...) {
			t.Errorf("the id of %q is %v", parts, id)
		}
	}
	see()
	for _, a := range parts {
		see(a)
		for _, b := range parts {
			see(a, b)
			for _, c := range parts {
				see(a, b, c)
			}
		}
	}
}

// Like those of DeriveID, these values are in users' stores.
func TestIDsDerivedNearOneBeginWithItsTime(t *testing.T) {
	for near, want := range map[string]string{
		"01939f2a-7d10-7abc-8def-0123456789ab": "01939f2a-7d10-8d51-a0d9-60527008e9d8", // of NewID
		"01939f2a-7d10-8abc-8def-0123456789ab": "01939f2a-7d10-8d51-a0d9-60527008e9d8", // derived near one
		"3dfd5a67-cf20-5b82-b553-fd58e586664f": "903fb205-14fb-5d51-a0d9-60527008e9d8", // derived: without a time
		"01939f2a-7d10-4abc-8def-0123456789ab": "903fb205-14fb-5d51-a0d9-60527008e9d8", // random
		"00000000-0000-0000-0000-000000000000": "903fb205-14fb-5d51-a0d9-60527008e9d8",
	} {
		id, err := event.ParseID(near)
		if got := event.DeriveIDNear(id, "a").String(); got != want || err != nil {
			t.Errorf("near %s: %s, want %s (%v)", near, got, want, err)
		}
	}
}

func TestParseID(t *testing.T) {
	id := event.NewID()
	for text, good := range map[string]bool{
		id.String(): true, strings.ToUpper(id.String()): true, event.ID{}.String(): true,
		"": false, "x": false, "{" + id.String() + "}": false, "urn:uuid:" + id.String(): false, strings.ReplaceAll(id.String(), "-", ""): false,
		strings.Replace(id.String(), "-", "0", 1): false, id.String()[:35] + "g": false, id.String() + " ": false, strings.Repeat("-", 36): false,
	} {
		got, err := event.ParseID(text)
		if good != (err == nil) || err != nil && !got.IsZero() {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if good && got.String() != strings.ToLower(text) {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestIDsAsText(t *testing.T) {
	type holder struct {
		ID    event.ID
		Other event.ID `json:",omitzero"`
	}
	id := event.NewID()
	for in, want := range map[holder]string{
		{ID: id}: `{"ID":"` + id.String() + `"}`, {}: `{"ID":""}`, {Other: id}: `{"ID":"","Other":"` + id.String() + `"}`,
	} {
		data, err := json.Marshal(in)
		if err != nil || string(data) != want {
			t.Errorf("%+v is written %s, %v", in, data, err)
		}
		out := holder{ID: event.NewID()}
		if err := json.Unmarshal(data, &out); err != nil || out != in {
			t.Errorf("%s is read as %+v, %v", data, out, err)
		}
	}
	out := holder{ID: id}
	if err := json.Unmarshal([]byte(`{"ID":"no id"}`), &out); err == nil || out.ID != id {
		t.Errorf("no id was read as %v, %v", out.ID, err)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("")
	f.Add("018f4e4e-7d2c-7c3e-9a55-6d9f2b8d0a11")
	f.Add("018F4E4E-7D2C-7C3E-9A55-6D9F2B8D0A11")
	f.Add("018f4e4e7d2c7c3e9a556d9f2b8d0a11----")
	f.Add("{18f4e4e-7d2c-7c3e-9a55-6d9f2b8d0a1}")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := event.ParseID(s)
		if err != nil && !id.IsZero() || err == nil && id.String() != strings.ToLower(s) {
			t.Errorf("%q was read as %v, %v", s, id, err)
		}
		var text event.ID
		if textErr := text.UnmarshalText([]byte(s)); s != "" && (textErr == nil) != (err == nil) || text != id {
			t.Errorf("%q: read as %v, %v, and as text %v, %v", s, id, err, text, textErr)
		}
		written, err := id.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again event.ID
		if err := again.UnmarshalText(written); err != nil || again != id {
			t.Errorf("%v was written %q and read as %v, %v", id, written, again, err)
		}
	})
}

func TestMicro(t *testing.T) {
	east := time.FixedZone("east", 7*3600)
	for in, want := range map[time.Time]time.Time{
		{}: {},
		time.Date(2024, 1, 1, 5, 0, 0, 123_456_789, east):          time.Date(2023, 12, 31, 22, 0, 0, 123_456_000, time.UTC),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.UTC): time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Unix(0, 0): time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 0, 0, 0, 1, time.UTC): time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	} {
		got := event.Micro(in)
		if got != want || event.Micro(got) != got {
			t.Errorf("%v is cut to %v, want %v", in, got, want)
		}
	}
	now := time.Now()
	if got := event.Micro(now); got != got.Round(0) || math.Abs(float64(now.Sub(got))) > float64(time.Microsecond) {
		t.Errorf("%v is cut to %v", now, got)
	}
}
