package actors

import (
	"context"
	"errors"
	"fmt"

	"bms/domain"
)

// maxRows is how many rows of a branch's state stay in memory, as far as they
// are kept elsewhere and nobody waits for them.
const maxRows = 4096

// errKeptBack is why a state is made anew when rows that were let go of are not
// to be had any more as they were.
var errKeptBack = errors.New("what is kept beside the log is older than it was")

// part is a branch's state with those rows only that a command needed or that
// have changed since it was loaded: a branch has had a million sales in its
// life, and commands are about those of today. The others are kept beside the
// log, which they trail: a row that is not here has not changed since what is
// kept was of version floor.
type part struct {
	branch *domain.Branch
	// rows are those in memory, and some that are known not to be.
	rows  map[domain.Row]rowAt
	floor uint64
	most  int // rows to keep in memory, more or less
	room  int // number of rows at which some are let go of, if they can be
}

// rowAt says up to which version a row in memory has all commits: that at which
// it was loaded, and that of the last one that changed it since.
type rowAt struct{ loaded, changed uint64 }

func newPart(branch *domain.Branch, version uint64, most int) *part {
	return &part{branch: branch, rows: map[domain.Row]rowAt{}, floor: version, most: most, room: most}
}

// missing are those of rows that are not in memory, once each.
func (p *part) missing(rows []domain.Row) (missing []domain.Row) {
	if p.floor == 0 {
		return nil
	}
	seen := map[domain.Row]bool{}
	for _, r := range rows {
		if _, here := p.rows[r]; !here && !seen[r] {
			seen[r] = true
			missing = append(missing, r)
		}
	}
	return missing
}

// has reports whether all rows are in memory, as far as they are anywhere.
func (p *part) has(rows []domain.Row) bool {
	if p.floor == 0 {
		return true
	}
	for _, r := range rows {
		if _, here := p.rows[r]; !here {
			return false
		}
	}
	return true
}

// put takes rows in as they are kept at a version. Those that are here already
// are newer.
func (p *part) put(rows []domain.Row, states [][]byte, version uint64) error {
	if p.floor == 0 { // all are here
		return nil
	}
	if version < p.floor {
		return fmt.Errorf("%w: version %d, was %d", errKeptBack, version, p.floor)
	}
	for i, r := range rows {
		if _, here := p.rows[r]; here {
			continue
		}
		if err := p.branch.PutRow(r, states[i]); err != nil {
			return err
		}
		p.rows[r] = rowAt{loaded: version}
	}
	return nil
}

// evolve folds an event of the commit of a version in, unless the row that it
// changes has it.
func (p *part) evolve(e *domain.Event, version uint64) error {
	row, ok := touched(e)
	at := p.rows[row]
	if ok && version <= at.loaded {
		return nil
	}
	if err := p.branch.Evolve(e); err != nil {
		return err
	}
	if ok {
		p.rows[row] = rowAt{at.loaded, version}
	}
	return nil
}

// crowded reports whether there are so many rows that some should be let go of.
// It says so once, and again when there are twice as many.
func (p *part) crowded() bool {
	if len(p.rows) < p.room {
		return false
	}
	p.room = 2 * len(p.rows)
	return true
}

// shrink lets go of the rows that are kept as they are here, when what is kept is
// of a version, but for needed ones.
func (p *part) shrink(kept uint64, needed map[domain.Row]bool) {
	for r, at := range p.rows {
		if version := max(at.loaded, at.changed); version <= kept && !needed[r] {
			p.branch.DropRow(r)
			delete(p.rows, r)
			p.floor = max(p.floor, version)
		}
	}
	p.room = max(p.most, 2*len(p.rows))
}

// touched is the row that an event changes, if it is one that may be out of
// memory.
func touched(e *domain.Event) (domain.Row, bool) {
	row := domain.Touched(e)
	return row, row.Kind != "" && row.Kind != domain.RowProduct
}

// held is what a stream has in memory of its state.
type held struct {
	state   domain.State // nil: nothing
	part    *part        // of state; nil: it is the whole
	version uint64       // of state
}

// hold begins with a state as it was at a version.
func (s *stream) hold(state domain.State, version uint64) held {
	h := held{state: state, version: version}
	if branch, ok := state.(*domain.Branch); ok && s.deciders.cfg.LoadRows != nil {
		h.part = newPart(branch, version, s.deciders.maxRows)
	}
	return h
}

// evolve folds an event of the commit after version in.
func (h *held) evolve(e *domain.Event) error {
	if h.part != nil {
		return h.part.evolve(e, h.version+1)
	}
	return h.state.Evolve(e)
}

// fold brings what is held up to the end of commits.
func (s *stream) fold(ctx context.Context, h *held, commits []*domain.Commit) error {
	if err := s.loadTouched(ctx, h.part, commits); err != nil {
		return err
	}
	for _, commit := range commits {
		if commit.Version != h.version+1 {
			return fmt.Errorf("%w: version %d follows %d", domain.ErrCorrupt, commit.Version, h.version)
		}
		for i := range commit.Events {
			if err := h.evolve(&commit.Events[i]); err != nil {
				return fmt.Errorf("evolve by version %d: %w", commit.Version, err)
			}
		}
		h.version = commit.Version
	}
	return nil
}

// loadTouched loads the rows that commits change.
func (s *stream) loadTouched(ctx context.Context, p *part, commits []*domain.Commit) error {
	if p == nil {
		return nil
	}
	var changed []domain.Row
	for _, c := range commits {
		for i := range c.Events {
			if row, ok := touched(&c.Events[i]); ok {
				changed = append(changed, row)
			}
		}
	}
	rows := p.missing(changed)
	if len(rows) == 0 {
		return nil
	}
	states, kept, err := s.loadRows(ctx, rows)
	if err != nil {
		return err
	}
	return p.put(rows, states, kept)
}

func (s *stream) loadRows(ctx context.Context, rows []domain.Row) ([][]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.deciders.cfg.AppendTimeout)
	defer cancel()
	return s.deciders.cfg.LoadRows(ctx, s.name, rows)
}
