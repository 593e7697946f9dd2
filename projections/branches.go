package projections

import (
	"context"
	"encoding/json"
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

// Kinds of parts; they are on disk.
const (
	kindProduct     = "product"
	kindTransaction = "transaction"
	kindTransfer    = "transfer"
	kindDevice      = "device"
)

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
	known map[partKey]bool
	dirty []partKey
}

type partKey struct{ kind, id string }

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
		rows := domain.Touched(&e)
		if err := need(b, part, part.Products, kindProduct, rows.Product); err != nil {
			return err
		}
		if err := need(b, part, part.Transactions, kindTransaction, rows.Transaction); err != nil {
			return err
		}
		if err := need(b, part, part.Transfers, kindTransfer, rows.Transfer); err != nil {
			return err
		}
		if err := need(b, part, part.Devices, kindDevice, rows.Device); err != nil {
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
	p := &branchPart{Branch: domain.NewBranch(id), known: map[partKey]bool{}}
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

// need has a part in memory, if it exists, and marks it as changed. The empty
// id is none.
func need[S any](b *branches, p *branchPart, rows map[string]*S, kind, id string) error {
	if id == "" {
		return nil
	}
	k := partKey{kind, id}
	changed, known := p.known[k]
	if !known {
		b.rows++
		if _, err := b.file.writer.one(context.Background(), func(r row) error {
			s := new(S)
			rows[id] = s
			return json.Unmarshal([]byte(r.text(0)), s)
		}, "SELECT state FROM parts WHERE branch = ? AND kind = ? AND id = ?", p.ID, kind, id); err != nil {
			return fmt.Errorf("load %s %s of branch %s: %w", kind, id, p.ID, err)
		}
	}
	if !changed {
		p.known[k] = true
		p.dirty = append(p.dirty, k)
	}
	return nil
}

// flush writes what was changed and lets go of what is too much.
func (b *branches) flush() error {
	for _, p := range b.changed {
		p.changed = false
		if err := b.file.writer.exec("INSERT OR REPLACE INTO branches VALUES (?, ?, ?, ?)", p.ID, p.Name, p.Status, int64(p.version)); err != nil {
			return err
		}
		for _, k := range p.dirty {
			p.known[k] = false
			if err := b.keep(p, k); err != nil {
				return fmt.Errorf("keep %s %s of branch %s: %w", k.kind, k.id, p.ID, err)
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

// keep writes a part.
func (b *branches) keep(p *branchPart, k partKey) error {
	var state any
	switch k.kind {
	case kindProduct:
		state = p.Products[k.id]
	case kindTransaction:
		state = p.Transactions[k.id]
	case kindTransfer:
		state = p.Transfers[k.id]
	case kindDevice:
		state = p.Devices[k.id]
	}
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return b.file.writer.exec("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", p.ID, k.kind, k.id, string(raw))
}

func (b *branches) forget() error {
	b.held, b.rows, b.changed = map[string]*branchPart{}, 0, nil
	return nil
}
