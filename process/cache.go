package process

// cache keeps instances in memory during a term, also that a key has none. What was not used during a while is
// forgotten: two generations of so many, of which the older goes when the younger is full. Nothing used in the running
// turn or the one before it is ever forgotten.
type cache struct {
	most       int
	young, old map[string]*Instance
}

func newCache(most int) cache {
	return cache{most: max(most, 1), young: map[string]*Instance{}, old: map[string]*Instance{}}
}

// turn is called between turns.
func (c *cache) turn() {
	if len(c.young) > c.most {
		c.old, c.young = c.young, make(map[string]*Instance, c.most/4)
	}
}

func (c *cache) get(key string) (*Instance, bool) {
	if i, ok := c.young[key]; ok {
		return i, true
	}
	if i, ok := c.old[key]; ok {
		c.young[key] = i
		return i, true
	}
	return nil, false
}

func (c *cache) put(key string, i *Instance) { c.young[key] = i }

func (c *cache) drop(key string) {
	delete(c.young, key)
	delete(c.old, key)
}
