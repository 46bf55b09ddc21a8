package process

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/ensue-io/ensue/internal/plainjson"
)

// filled sets every field below v to something, or leaves it as it is as often as one in `sparse`: 0 for never.
func filled(r *rand.Rand, v reflect.Value, sparse int) {
	if sparse > 0 && r.IntN(sparse) == 0 {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		zone := time.UTC
		if r.IntN(4) == 0 {
			zone = time.FixedZone("", 3600*(r.IntN(24)-12))
		}
		v.Set(reflect.ValueOf(time.UnixMicro(r.Int64N(1 << 52)).In(zone)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`{"a":["<>",1.5e3]}`))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(r.Int64() >> r.IntN(64) * []int64{1, -1}[r.IntN(2)])
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(r.Uint64() >> r.IntN(64) & (1<<v.Type().Bits() - 1))
	case reflect.String:
		v.SetString([]string{"plain", "with spaces/and:signs-._", "\"quoted\\", "<b>&", "söß ☃ \u2028", "tab\tand\x01", "bad \xff", "\x7f", "null"}[r.IntN(9)])
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), r.IntN(4), 4)
		for n := range s.Len() {
			filled(r, s.Index(n), sparse)
		}
		v.Set(s)
	case reflect.Array:
		for n := range v.Len() {
			filled(r, v.Index(n), 0)
		}
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for range r.IntN(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			filled(r, key, sparse)
			filled(r, value, sparse)
			m.SetMapIndex(key, value)
		}
		v.Set(m)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(r, v.Elem(), sparse)
	case reflect.Struct:
		for n := range v.NumField() {
			if v.Type().Field(n).IsExported() {
				filled(r, v.Field(n), sparse)
			}
		}
	default:
		panic(v.Type())
	}
}

// A record is written as encoding/json writes it, and read back as encoding/json reads it: also one that has a field more
// than those who wrote recordjson.go knew of.
func TestRecordsAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 3000 {
		var rec Record
		filled(r, reflect.ValueOf(&rec).Elem(), n%5)
		want, err := json.Marshal(&rec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := marshalRecord(&rec)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v\n got %s\nwant %s", err, got, want)
		}
		var was, is Record
		if err := json.Unmarshal(want, &was); err != nil {
			t.Fatal(err)
		}
		if err := unmarshalRecord(want, &is); err != nil || !reflect.DeepEqual(is, was) {
			t.Fatalf("%v: of %s\n got %+v\nwant %+v", err, want, is, was)
		}
		for k := range rec.Sent {
			want, _ := json.Marshal(&rec.Sent[k])
			if got, err := marshalSent(&rec.Sent[k]); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v\n got %s\nwant %s", err, got, want)
			}
		}
	}
}

// What a step writes is plain, so that reading it takes the short way.
func TestRecordsOfStepsArePlain(t *testing.T) {
	for n := range 200 {
		var rec Record
		filled(rand.New(rand.NewPCG(3, uint64(n))), reflect.ValueOf(&rec).Elem(), 3)
		data, err := marshalRecord(&rec)
		if err != nil {
			t.Fatal(err)
		}
		r := plainjson.Reader{Data: data}
		if readRecord(&r, new(Record)); !r.Whole() {
			t.Errorf("not plain: %s", data)
		}
	}
}

func TestARecordThatCannotBeWrittenIsAnError(t *testing.T) {
	for name, rec := range map[string]Record{
		"instant":  {Input: Taken{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"migrated": {Migrated: json.RawMessage(`{`)},
	} {
		if data, err := marshalRecord(&rec); err == nil {
			t.Errorf("%s: %s", name, data)
		}
	}
}

// FuzzRecord reads anything as encoding/json reads it.
func FuzzRecord(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 60 {
		var rec Record
		filled(r, reflect.ValueOf(&rec).Elem(), n%6)
		data, err := json.Marshal(&rec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, data := range []string{``, `{`, `{}`, `{"in":{}}`, `null`, ` {}`, `{"in":{"kind":256}}`, `{"in":{"kind":-1}}`, `{"in":{"kind":1,"kind":2}}`, `{"v":01}`, `{"v":-0}`,
		`{"v":9223372036854775808}`, `{"v":-9223372036854775808}`, `{"V":1}`, `{"v":1,"v":2}`, `{"v":1}x`, `{"set":[]}`, `{"set":null}`, `{"once":[,]}`, `{"linked":false}`, `{"why":"\u00e4"}`,
		`{"sent":[{"data":""}]}`, `{"sent":[{"data":"AA=="},]}`, `{"sent":[{"meta":{"headers":{"a":"1","a":"2"}}}]}`, `{"ignored":"` + "\x80" + `"}`, `{"in":{"id":"6A0F6CF2-5d0c-5c58-9d53-1d1a4c7f2f1e"}}`} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var was, is Record
		want, got := json.Unmarshal(data, &was), unmarshalRecord(data, &is)
		if (want == nil) != (got == nil) || want == nil && !reflect.DeepEqual(is, was) {
			t.Fatalf("of %q\n got %v %+v\nwant %v %+v", data, got, is, want, was)
		}
	})
}
