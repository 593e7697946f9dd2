package projections

import (
	"context"
	"fmt"
	"strings"

	"bms/domain"
)

// branchesDefinition keeps the write-side state of every branch, row by row:
// the branch itself, and its products, transactions, transfers and devices as
// JSON, as the domain folds them. Deciders start from it and read only what
// came after.
func branchesDefinition() definition {
	return definition{
		name: Branches, version: 1,
		schema: `
CREATE TABLE branches (branch TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE parts (branch TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (branch, kind, id)) WITHOUT ROWID;
`,
		wants: func(c *domain.Commit) bool { return strings.HasPrefix(c.Stream, branchPrefix) },
		start: func(f *file) (fold, error) {
			b := &branches{file: f}
			return b, b.forget()
		},
	}
}

// branchPrefix begins the names of the branches' streams; the id follows.
var branchPrefix = domain.StreamOfBranch("")

// maxBranchRows is the number of parts kept in memory between batches.
const maxBranchRows = 1 << 16

type branches struct {
	basic
	file    *file
	rows    int
	held    map[string]*branchPart
	changed []*branchPart
}

// branchPart is the part of a branch's state that was needed lately.
type branchPart struct {
	*domain.Branch
	version uint64
	changed bool
	// known are the parts in memory, or known not to exist; true for those
	// that changed, which dirty lists.
	known map[domain.Row]bool
	dirty []domain.Row
}

// commit folds all events of a commit of a branch's stream, whatever their
// type.
func (b *branches) commit(c *domain.Commit) error {
	id := strings.TrimPrefix(c.Stream, branchPrefix)
	part, err := b.part(id)
	if err != nil {
		return err
	}
	if c.Version != part.version+1 {
		return fmt.Errorf("commit %s is version %d of %s, want %d", c.Position, c.Version, c.Stream, part.version+1)
	}
	for i := range c.Events {
		e, err := c.Events[i].Decoded()
		if err != nil {
			return err
		}
		if err := b.need(part, domain.Touched(&e)); err != nil {
			return err
		}
		if err := part.Evolve(&e); err != nil {
			return err
		}
	}
	part.version = c.Version
	if !part.changed {
		part.changed = true
		b.changed = append(b.changed, part)
	}
	return nil
}

func (b *branches) apply(*domain.Commit, *domain.Event, domain.Payload) error { return nil }

// part gives what is held of a branch.
func (b *branches) part(id string) (*branchPart, error) {
	if p, ok := b.held[id]; ok {
		return p, nil
	}
	p := &branchPart{Branch: domain.NewBranch(id), known: map[domain.Row]bool{}}
	_, err := b.file.writer.one(context.Background(), func(r row) error {
		p.Name, p.Status, p.version = r.text(0), r.text(1), uint64(r.int(2))
		return nil
	}, "SELECT name, status, version FROM branches WHERE branch = ?", id)
	if err != nil {
		return nil, err
	}
	b.held[id] = p
	return p, nil
}

// need has a row in memory, if it exists, and marks it as changed.
func (b *branches) need(p *branchPart, want domain.Row) error {
	if want == (domain.Row{}) {
		return nil
	}
	changed, known := p.known[want]
	if !known {
		b.rows++
		if _, err := b.file.writer.one(context.Background(), func(r row) error {
			return p.PutRow(want, []byte(r.text(0)))
		}, selectPart, p.ID, want.Kind, want.ID); err != nil {
			return fmt.Errorf("load from branch %s: %w", p.ID, err)
		}
	}
	if !changed {
		p.known[want] = true
		p.dirty = append(p.dirty, want)
	}
	return nil
}

const selectPart = "SELECT state FROM parts WHERE branch = ? AND kind = ? AND id = ?"

// flush writes what was changed and lets go of what is too much.
func (b *branches) flush() error {
	for _, p := range b.changed {
		p.changed = false
		if err := b.file.writer.exec("INSERT OR REPLACE INTO branches VALUES (?, ?, ?, ?)", p.ID, p.Name, p.Status, int64(p.version)); err != nil {
			return err
		}
		for _, r := range p.dirty {
			p.known[r] = false
			raw, err := p.MarshalRow(r)
			if err == nil && raw != nil {
				err = b.file.writer.exec("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", p.ID, r.Kind, r.ID, string(raw))
			}
			if err != nil {
				return fmt.Errorf("keep %s %s of branch %s: %w", r.Kind, r.ID, p.ID, err)
			}
		}
		p.dirty = p.dirty[:0]
	}
	b.changed = b.changed[:0]
	if b.rows > maxBranchRows {
		return b.forget()
	}
	return nil
}

func (b *branches) forget() error {
	b.held, b.rows, b.changed = map[string]*branchPart{}, 0, nil
	return nil
}
