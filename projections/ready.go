package projections

import "fmt"

// Unready says why reads, and what is judged by them, should not be trusted
// with traffic now: one reason for each projection that has failed, has not yet
// caught up with the log as it was found at the start, or is behind and hasn't
// moved for 10 seconds. Empty for ready. A projection that serves an older
// version's file while the new one is folded is ready: it serves.
func (s *Set) Unready() []string {
	var reasons []string
	for _, r := range s.runners {
		var st Status
		r.progress.status(&st, s.config.Log.Head())
		switch {
		case st.State == StateFailed:
			reasons = append(reasons, fmt.Sprintf("projection %s has failed: %s", r.name, st.LastError))
		case r.progress.servesOld(r.version):
		case !r.progress.caught():
			reasons = append(reasons, fmt.Sprintf("projection %s is catching up: at %d of %d records", r.name, st.Position.Seq, st.Head.Seq))
		case st.Stalled:
			reasons = append(reasons, fmt.Sprintf("projection %s is %d records behind and doesn't move", r.name, st.LagRecords))
		}
	}
	return reasons
}
