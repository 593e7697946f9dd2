package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"bms/domain"
)

// branchesDefinition keeps the write-side state of every branch, row by row:
// the branch itself, its products and its transactions, as the domain folds
// them. Deciders start from it and read only what came after.
func branchesDefinition() definition {
	return definition{
		name: Branches, version: 1,
		schema: `
CREATE TABLE branches (branch TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE products (branch TEXT NOT NULL, product TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (branch, product)) WITHOUT ROWID;
CREATE TABLE transactions (branch TEXT NOT NULL, tx TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (branch, tx)) WITHOUT ROWID;
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

// maxBranchRows is the number of products and transactions kept in memory
// between batches.
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
	version                uint64
	changed                bool
	products, transactions parts
}

// parts says which rows of one kind are in memory.
type parts struct {
	known   map[string]bool // in memory, or known not to exist; true: changed
	changed []string
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
		e := &c.Events[i]
		products, tx := domain.Touched(e)
		for _, product := range products {
			if err := need(b, &part.products, part.Products, id, product, "SELECT state FROM products WHERE branch = ? AND product = ?"); err != nil {
				return err
			}
		}
		if tx != "" {
			if err := need(b, &part.transactions, part.Transactions, id, tx, "SELECT state FROM transactions WHERE branch = ? AND tx = ?"); err != nil {
				return err
			}
		}
		if err := part.Evolve(e); err != nil {
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
	p := &branchPart{Branch: domain.NewBranch(id), products: parts{known: map[string]bool{}}, transactions: parts{known: map[string]bool{}}}
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
func need[S any](b *branches, p *parts, rows map[string]*S, branch, id, query string) error {
	changed, known := p.known[id]
	if !known {
		b.rows++
		if _, err := b.file.writer.one(context.Background(), func(r row) error {
			s := new(S)
			rows[id] = s
			return json.Unmarshal([]byte(r.text(0)), s)
		}, query, branch, id); err != nil {
			return fmt.Errorf("load %s of branch %s: %w", id, branch, err)
		}
	}
	if !changed {
		p.known[id] = true
		p.changed = append(p.changed, id)
	}
	return nil
}

// flush writes what was changed and lets go of what is too much.
func (b *branches) flush() error {
	w := b.file.writer
	for _, p := range b.changed {
		p.changed = false
		if err := w.exec("INSERT OR REPLACE INTO branches VALUES (?, ?, ?, ?)", p.ID, p.Name, p.Status, int64(p.version)); err != nil {
			return err
		}
		if err := keep(w, &p.products, p.Products, p.ID, "INSERT OR REPLACE INTO products VALUES (?, ?, ?)"); err != nil {
			return err
		}
		if err := keep(w, &p.transactions, p.Transactions, p.ID, "INSERT OR REPLACE INTO transactions VALUES (?, ?, ?)"); err != nil {
			return err
		}
	}
	b.changed = b.changed[:0]
	if b.rows > maxBranchRows {
		return b.forget()
	}
	return nil
}

// keep writes the changed rows of one kind.
func keep[S any](w *conn, p *parts, rows map[string]*S, branch, query string) error {
	for _, id := range p.changed {
		p.known[id] = false
		raw, err := json.Marshal(rows[id])
		if err != nil {
			return fmt.Errorf("encode %s of branch %s: %w", id, branch, err)
		}
		if err := w.exec(query, branch, id, string(raw)); err != nil {
			return err
		}
	}
	p.changed = p.changed[:0]
	return nil
}

func (b *branches) forget() error {
	b.held, b.rows, b.changed = map[string]*branchPart{}, 0, nil
	return nil
}
