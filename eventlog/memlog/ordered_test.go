package memlog

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestOrderedIsASortedSlice(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, keys := range []int{10, 3000, 1 << 30} { // many times the same, some, hardly ever
		o := ordered[int]{before: func(a, b int) bool { return a < b }}
		var want []int
		for step := range 20_000 {
			e := random.IntN(keys)
			if step%3 == 0 && keys > 10_000 {
				e = step // growing, and among what there is
			}
			at, there := slices.BinarySearch(want, e)
			switch {
			case step < 12_000 && random.IntN(4) > 0 || random.IntN(3) == 0:
				if o.insert(e); !there {
					want = slices.Insert(want, at, e)
				}
			default:
				if len(want) > 0 && random.IntN(2) == 0 {
					at = random.IntN(len(want))
					e, there = want[at], true
				}
				if o.remove(e); there {
					want = slices.Delete(want, at, at+1)
				}
			}
			if step%500 == 0 {
				at, _ := slices.BinarySearch(want, e)
				if got := slices.Collect(o.from(e)); !slices.Equal(got, want[at:]) {
					t.Fatalf("step %d: from %d there are %d elements, want %d", step, e, len(got), len(want[at:]))
				}
				for _, c := range o.chunks {
					if len(c) == 0 || len(c) > chunk {
						t.Fatalf("step %d: a chunk has %d elements", step, len(c))
					}
				}
			}
		}
	}
}
