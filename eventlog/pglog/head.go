package pglog

import "sync"

// heads is the highest position of a log that this process has seen, and who waits for a higher one.
type heads struct {
	mu      sync.Mutex
	seen    int64
	waiters int
	changed chan struct{} // closed when seen grows; nil while nobody waits
}

// advance notes that the log reaches up to head.
func (h *heads) advance(head int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if head > h.seen {
		h.seen = head
		h.ring()
	}
}

// restart notes that the log reaches up to head, and no further, whatever it did before.
func (h *heads) restart(head int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = head
	h.ring()
}

// wake lets everybody who waits look again.
func (h *heads) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring()
}

func (h *heads) ring() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// above tells whether the head is above a position, and otherwise returns what is closed when it may be.
func (h *heads) above(after int64) (bool, <-chan struct{}) {
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

func (h *heads) wait(n int) {
	h.mu.Lock()
	h.waiters += n
	h.mu.Unlock()
}

func (h *heads) awaited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiters > 0
}
