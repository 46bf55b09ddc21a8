package till

// Pay takes an amount once for each id.
func (t *Till) Pay(id string, amount int) {
	if t.paid[id] {
		return
	}
	t.paid[id] = true
	t.sum += amount
}

type Till struct {
	paid map[string]bool
	sum  int
}
