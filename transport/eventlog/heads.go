package eventlog

// heads remembers the last version of streams, of at least limit of them and at
// most twice as many: it has two generations, and forgets the elder when the
// younger is full. The writer owns it.
type heads struct {
	limit        int
	young, elder map[string]uint64
}

func newHeads(limit int) *heads {
	return &heads{limit: limit, young: map[string]uint64{}}
}

func (h *heads) get(stream string) (uint64, bool) {
	if v, ok := h.young[stream]; ok {
		return v, true
	}
	v, ok := h.elder[stream]
	if ok {
		h.set(stream, v)
	}
	return v, ok
}

func (h *heads) set(stream string, version uint64) {
	if _, ok := h.young[stream]; !ok && len(h.young) >= h.limit {
		h.elder, h.young = h.young, map[string]uint64{}
	}
	h.young[stream] = version
}

func (h *heads) clear() {
	clear(h.young)
	h.elder = nil
}
