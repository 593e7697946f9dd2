package actors

import (
	"errors"

	"bms/domain"
)

// commandBarrier is the type of a commit without events, user and command id:
// it says nothing, and by its version lets nothing else be the stream's next
// commit. The name is on disk, never to be changed.
const commandBarrier = "stream.barrier"

// While an append is in doubt, its outcome unknown, it may yet reach the log,
// also after the state was read again. What the actor may answer meanwhile:
//
//   - A commit that is found in the log: always. It is durable and stays, and a
//     look-up by id finds whatever has come by then.
//   - A decision that was accepted, once its own append has succeeded: its
//     version is the next after all that it was decided on, so that the append
//     in doubt has come before it (and the version is a conflict) or, from then
//     on, never comes.
//   - A rejection, whatever it is for, once an append which began after the
//     doubt has succeeded at the very next version after the state that it was
//     decided on: that of its group, or if the group has no commits, a barrier.
//     By nothing else would it be fenced. The state may be one of the past, for
//     as long as nobody adds to the stream; and what is rejected under a client's
//     key may be what is in doubt, and take effect after the "no".
//   - "log_unavailable", to whom the log gives none of these: it is no answer to
//     what was asked.
//
// The doubt is the stream's and outlives the actor, which may be put away and
// started anew. It ends with the first append to succeed that began after it:
// commits of one call have consecutive versions and are kept as a prefix, so the
// first of them that is not there has found its version taken.
//
// All this is between an owner and its own appends. One that has just started
// knows nothing of another's; that is for the log to end, which belongs to one
// process at a time.

// doubts notes that the append of a group has ended and may still reach the log.
func (s *stream) doubts(group []*pending) {
	for _, p := range group {
		p.handed = p.handed || p.commit != nil
	}
	if !s.doubt {
		s.doubt = true
		s.deciders.doubts(s.name, true)
	}
}

// believes notes that an append has succeeded.
func (s *stream) believes() {
	if s.doubt {
		s.doubt = false
		s.deciders.doubts(s.name, false)
	}
}

// settled reports whether an append that ended with an error won't reach the
// log any more, but for what is there.
func settled(err error) bool {
	refused := errors.Is(err, domain.ErrVersionConflict) || errors.Is(err, domain.ErrDuplicateCommand)
	return refused && !unavailable(err)
}

// barrier puts a commit into the group that has rejections only.
func (s *stream) barrier() {
	s.version++
	s.commits = append(s.commits, &domain.Commit{
		Stream: s.name, Version: s.version, CommandType: commandBarrier, At: s.group[len(s.group)-1].cmd.At,
	})
}
