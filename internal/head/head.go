// Package head keeps how far a log is known to reach, and wakes who waits for more.
//
//	var h head.Head
//	h.Advance(7)
//	if above, changed := h.Above(7); !above {
//		<-changed // and look again
//	}
package head

import "sync"

// Head is the highest position of a log that this program has seen, and who waits for a higher one. The zero Head is that
// of an empty log. All methods are safe for concurrent use.
type Head struct {
	mu      sync.Mutex
	seen    int64
	waiters int
	changed chan struct{} // closed when seen grows; nil while nobody waits
}

// Advance notes that the log reaches up to head.
func (h *Head) Advance(head int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if head > h.seen {
		h.seen = head
		h.ring()
	}
}

// Restart notes that the log reaches up to head, and no further, whatever it did before.
func (h *Head) Restart(head int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = head
	h.ring()
}

// Wake lets everybody who waits look again.
func (h *Head) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring()
}

func (h *Head) ring() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// Above tells whether the head is above a position, and otherwise returns what is closed when it may be.
func (h *Head) Above(after int64) (bool, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen > after {
		return true, nil
	}
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return false, h.changed
}

// Seen returns the head.
func (h *Head) Seen() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// Wait counts who waits: 1 when it begins to, -1 when it ends.
func (h *Head) Wait(n int) {
	h.mu.Lock()
	h.waiters += n
	h.mu.Unlock()
}

// Awaited tells whether anybody waits.
func (h *Head) Awaited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiters > 0
}
