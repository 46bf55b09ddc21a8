package memlog

import (
	"iter"
	"slices"
	"sort"
)

// ordered is a set in order, as a list of short sorted slices: putting one of a million in its place moves a few hundred,
// and reading from anywhere begins with two binary searches.
type ordered[E comparable] struct {
	before func(a, b E) bool
	chunks [][]E // none of them empty
}

const chunk = 512

// find returns the chunk and the index in it of the first element that is not before e.
func (o *ordered[E]) find(e E) (c, i int) {
	c = sort.Search(len(o.chunks), func(c int) bool {
		last := o.chunks[c][len(o.chunks[c])-1]
		return !o.before(last, e)
	})
	if c == len(o.chunks) {
		return c, 0
	}
	return c, sort.Search(len(o.chunks[c]), func(i int) bool { return !o.before(o.chunks[c][i], e) })
}

func (o *ordered[E]) insert(e E) {
	c, i := o.find(e)
	if c == len(o.chunks) {
		if c == 0 {
			o.chunks = [][]E{{e}}
			return
		}
		c, i = c-1, len(o.chunks[c-1])
	}
	if i < len(o.chunks[c]) && o.chunks[c][i] == e {
		return
	}
	o.chunks[c] = slices.Insert(o.chunks[c], i, e)
	if full := o.chunks[c]; len(full) > chunk {
		half := len(full) / 2
		if c == len(o.chunks)-1 && i == len(full)-1 {
			half = len(full) - 1 // what grows at its end is kept in full chunks
		}
		o.chunks[c] = slices.Clone(full[:half])
		o.chunks = slices.Insert(o.chunks, c+1, slices.Clone(full[half:]))
	}
}

func (o *ordered[E]) remove(e E) {
	c, i := o.find(e)
	if c == len(o.chunks) || o.chunks[c][i] != e {
		return
	}
	if o.chunks[c] = slices.Delete(o.chunks[c], i, i+1); len(o.chunks[c]) == 0 {
		o.chunks = slices.Delete(o.chunks, c, c+1)
	}
}

// from yields the elements that are not before e, in order.
func (o *ordered[E]) from(e E) iter.Seq[E] {
	return func(yield func(E) bool) {
		for c, i := o.find(e); c < len(o.chunks); c, i = c+1, 0 {
			for ; i < len(o.chunks[c]); i++ {
				if !yield(o.chunks[c][i]) {
					return
				}
			}
		}
	}
}
