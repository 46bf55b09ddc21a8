package head

import "testing"

func TestHead(t *testing.T) {
	var h Head
	h.Advance(3)
	h.Advance(2) // it never goes back by itself
	if seen := h.Seen(); seen != 3 {
		t.Errorf("3 was seen, not %d", seen)
	}
	if above, _ := h.Above(2); !above {
		t.Error("3 is not above 2")
	}
	above, changed := h.Above(3)
	if above {
		t.Fatal("3 is above 3")
	}
	h.Wait(1)
	if !h.Awaited() {
		t.Error("nobody waits")
	}
	select {
	case <-changed:
		t.Fatal("woken although nothing changed")
	default:
	}
	h.Advance(4)
	<-changed
	_, changed = h.Above(4)
	h.Restart(1)
	<-changed
	if above, changed := h.Above(1); above || changed == nil {
		t.Error("it did not begin again at 1")
	} else {
		h.Wake()
		<-changed
	}
	if h.Wait(-1); h.Awaited() {
		t.Error("somebody still waits")
	}
}
