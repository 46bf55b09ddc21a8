package processtest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// dump shows a value with everything in it: as %+v does, but behind pointers too, and the same for values that are equal.
func dump(v any) string {
	if v == nil {
		return "nothing"
	}
	var b strings.Builder
	t := reflect.TypeOf(v)
	if t.Name() == "" || strings.Contains(t.Name(), "[") {
		b.WriteString(t.String())
	} else {
		b.WriteString(t.Name())
	}
	dumpInto(&b, reflect.ValueOf(v), 0)
	return b.String()
}

// deepest is how far dump follows values into each other, which might be a circle.
const deepest = 64

var timeType = reflect.TypeFor[time.Time]()

func dumpInto(b *strings.Builder, v reflect.Value, depth int) {
	if depth > deepest {
		b.WriteString("…")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		dumpStruct(b, v, depth)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(b, "%q", v.Bytes())
			return
		}
		b.WriteString("[")
		for k := range v.Len() {
			if k > 0 {
				b.WriteString(" ")
			}
			dumpInto(b, v.Index(k), depth+1)
		}
		b.WriteString("]")
	case reflect.Map:
		entries := make([]string, 0, v.Len())
		for it := v.MapRange(); it.Next(); {
			var e strings.Builder
			dumpInto(&e, it.Key(), depth+1)
			e.WriteString(":")
			dumpInto(&e, it.Value(), depth+1)
			entries = append(entries, e.String())
		}
		slices.Sort(entries)
		b.WriteString("map[" + strings.Join(entries, " ") + "]")
	case reflect.Pointer, reflect.Interface:
		switch {
		case v.IsNil():
			b.WriteString("nil")
		case v.Kind() == reflect.Pointer:
			b.WriteString("&")
			dumpInto(b, v.Elem(), depth+1)
		default:
			b.WriteString(v.Elem().Type().String())
			dumpInto(b, v.Elem(), depth+1)
		}
	case reflect.String:
		b.WriteString(v.String())
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		fmt.Fprintf(b, "%v(nil: %t)", v.Type(), v.IsNil())
	default:
		fmt.Fprintf(b, "%v", v) // of a field that is not exported too
	}
}

func dumpStruct(b *strings.Builder, v reflect.Value, depth int) {
	if v.Type() == timeType {
		if v.CanInterface() {
			b.WriteString(v.Interface().(time.Time).Format(time.RFC3339Nano))
		} else { // without its location, which is a world of its own
			fmt.Fprintf(b, "time(%v %v)", v.Field(0), v.Field(1))
		}
		return
	}
	b.WriteString("{")
	for k := range v.NumField() {
		if k > 0 {
			b.WriteString(" ")
		}
		b.WriteString(v.Type().Field(k).Name + ":")
		dumpInto(b, v.Field(k), depth+1)
	}
	b.WriteString("}")
}
