package wsframe

// Lane holds the frames that one connection gets ahead of events, such as
// answers and pings. It is bounded by [Config].ControlFrames and ControlBytes.
// Whoever owns the connection guards it.
type Lane struct {
	frames [][]byte
	bytes  int
}

// Put adds frames, which must not be changed afterwards, and says whether they
// fit: they do, whatever their size, while the lane is below its bounds. If they
// don't the connection is to be closed as too slow: an answer that can't be
// delivered can't be dropped either. To refuse one for its own size would cut
// off, again and again, a client that does nothing but ask for it.
func (l *Lane) Put(frames []byte, c *Config) bool {
	if len(l.frames) >= c.ControlFrames || l.bytes >= c.ControlBytes {
		return false
	}
	l.frames = append(l.frames, frames)
	l.bytes += len(frames)
	return true
}

// Take empties the lane onto dst.
func (l *Lane) Take(dst [][]byte) [][]byte {
	dst = append(dst, l.frames...)
	l.Clear()
	return dst
}

// Clear drops what is in the lane.
func (l *Lane) Clear() { *l = Lane{} }
