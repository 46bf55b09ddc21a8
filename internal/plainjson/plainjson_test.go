package plainjson_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/internal/plainjson"
)

// thing is what the tests write and read.
type thing struct {
	Name  string            `json:"name"`
	Count int               `json:"count"`
	Place uint64            `json:"place"`
	Small uint8             `json:"small"`
	Yes   bool              `json:"yes,omitempty"`
	Data  []byte            `json:"data"`
	At    time.Time         `json:"at"`
	Some  map[string]string `json:"some"`
	List  []thing           `json:"list,omitempty"`
	Any   any               `json:"any,omitempty"`
}

func write(w *plainjson.Writer, t *thing) {
	w.Begin()
	w.String("name", t.Name)
	w.Int("count", int64(t.Count))
	w.Uint("place", t.Place)
	w.Uint("small", uint64(t.Small))
	w.True("yes", t.Yes)
	w.Bytes("data", t.Data)
	w.Text("at", t.At)
	w.Strings("some", t.Some)
	if len(t.List) > 0 {
		w.Name("list")
		w.BeginList()
		for n := range t.List {
			w.Element()
			write(w, &t.List[n])
		}
		w.EndList()
	}
	if t.Any != nil {
		w.Value("any", t.Any)
	}
	w.End()
}

func read(r *plainjson.Reader, t *thing) {
	r.Begin()
	if r.Member("name") {
		t.Name = r.String()
	}
	if r.Member("count") {
		t.Count = r.Int()
	}
	if r.Member("place") {
		t.Place = r.Uint()
	}
	if r.Member("small") {
		t.Small = r.Uint8()
	}
	t.Yes = r.Member("yes") && r.True()
	if r.Member("data") {
		t.Data = r.Bytes()
	}
	if r.Member("at") {
		r.Text(&t.At)
	}
	if r.Member("some") {
		t.Some = r.Strings()
	}
	if r.Member("list") {
		for r.BeginList(); r.Element(); {
			t.List = append(t.List, thing{})
			read(r, &t.List[len(t.List)-1])
		}
	}
	if r.Member("any") {
		r.Value(&t.Any)
	}
	r.End()
}

var at = time.Date(2024, 2, 29, 12, 0, 0, 1000, time.UTC)

func TestItWritesWhatMarshalWritesAndReadsItBack(t *testing.T) {
	for _, want := range []thing{
		{Some: map[string]string{}},
		{Name: "a/b-c", Count: -7, Place: 1<<64 - 1, Small: 255, Yes: true, Data: []byte{}, At: at, Some: map[string]string{"b": "1", "a": "<&>", "": "\""}},
		{Name: "ä \u2028 \t\\", Count: -1 << 63, Data: []byte("data"), At: at.In(time.FixedZone("", -3600)), Some: map[string]string{"\n": "ü"},
			List: []thing{{Some: map[string]string{}}, {Name: "x", Some: map[string]string{}, List: []thing{{Some: map[string]string{"a": ""}}}}}, Any: map[string]any{"a": []any{1.5, nil, "}"}}},
	} {
		text, err := json.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		var w plainjson.Writer
		write(&w, &want)
		if got, err := w.Result(); err != nil || string(got) != string(text) {
			t.Errorf("%v\n got %s\nwant %s", err, got, text)
		}
		r := plainjson.Reader{Data: text}
		var got thing
		if read(&r, &got); want.Count != -1<<63 && (!r.Whole() || !reflect.DeepEqual(got, want)) {
			t.Errorf("of %s\n got %+v\nwant %+v", text, got, want)
		}
	}
}

func TestWhatCannotBeJSONIsAnError(t *testing.T) {
	for name, bad := range map[string]thing{"instant": {At: at.AddDate(9000, 0, 0)}, "value": {Any: make(chan int)}} {
		var w plainjson.Writer
		write(&w, &bad)
		if text, err := w.Result(); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// What is not plain is not read: it may be JSON, and encoding/json decides.
func TestWhatIsNotPlainIsNotRead(t *testing.T) {
	for _, text := range []string{
		``, `{`, `null`, ` {}`, `{} `, `{}{}`, `{"name":"a"`, `{"name":"a"}}`, `{"name":"a" }`, `{"name" :"a"}`, `{"Name":"a"}`, `{"name":"a",}`, `{,"name":"a"}`,
		`{"name":"a","name":"b"}`, `{"count":1,"name":"a"}`, `{"name":null}`, `{"name":1}`, `{"name":"a}`, `{"name":"\x"}`, "{\"name\":\"a\tb\"}", `{"more":1}`,
		`{"count":01}`, `{"count":-}`, `{"count":1.5}`, `{"count":1e3}`, `{"count":9223372036854775808}`, `{"count":"1"}`, `{"place":-1}`, `{"place":18446744073709551616}`,
		`{"place":99999999999999999999}`, `{"small":256}`, `{"yes":false}`, `{"yes":true1}`, `{"data":"A"}`, `{"data":nul}`, `{"at":"yesterday"}`, `{"at":1}`,
		`{"some":null}`, `{"some":{"a":1}}`, `{"some":{"a":"1","a":"2"}}`, `{"some":{"a":"1",}}`, `{"list":[]}`, `{"list":[{},]}`, `{"list":[{}`, `{"list":[{}{}]}`, `{"list":{}}`, `{"any":}`, `{"any": 1}`,
	} {
		r := plainjson.Reader{Data: []byte(text)}
		if read(&r, new(thing)); r.Whole() {
			t.Errorf("%s was read", text)
		}
	}
	if long := `{"name":"` + strings.Repeat("a", 1000) + `"}`; true {
		r := plainjson.Reader{Data: []byte(long)}
		if read(&r, new(thing)); !r.Whole() {
			t.Error("a long name was not read")
		}
	}
}
