//go:build failpoints

package projections

// FailAt has f called at each step between an event and what becomes of it:
// "folded", "committed", "derived", "appended" and the others that Config
// lists. Only binaries made for tests have it.
func (c *Config) FailAt(f func(projection, step string)) { c.fault = f }
