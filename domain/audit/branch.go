package audit

import (
	"maps"
	"slices"

	"bms/domain"
)

// branch is what an audit knows of a branch beside its state: what it adds up
// itself instead of believing the state.
type branch struct {
	state  *domain.Branch
	stock  map[string]int64 // sum of deltas by product
	alerts map[string]domain.AlertState

	// Of the commit being looked at:
	touched map[string]moved            // by product
	due     map[string]map[string]int64 // by transaction or transfer, product: what must move
	done    map[string]map[string]int64 // what moved
}

// moved is how a commit changed the stock of a product.
type moved struct {
	net    int64
	policy string // before the commit
}

func newBranch(state *domain.Branch) *branch {
	return &branch{
		state: state, stock: map[string]int64{}, alerts: map[string]domain.AlertState{},
		touched: map[string]moved{}, due: map[string]map[string]int64{}, done: map[string]map[string]int64{},
	}
}

// branch looks at a commit of a branch.
func (a *Audit) branch(s *stream, c *domain.Commit) {
	b := s.branch
	clear(b.touched)
	clear(b.due)
	clear(b.done)
	for i := range c.Events {
		e := &c.Events[i]
		p, err := a.payload(i)
		if err != nil {
			a.giveUp(s)
			return
		}
		a.cause(b, e, p)
		b.expect(p)
		if _, ok := a.evolve(s, i); !ok {
			return
		}
		a.account(b, e, p)
		a.entails(e)
	}
	a.balance(b)
}

// expect notes what stock an event moves; it was not folded in yet.
func (b *branch) expect(payload domain.Payload) {
	switch p := payload.(type) {
	case domain.TransactionCreated:
		b.want(p.TransactionID, nil)
		if p.Status == domain.StatusCompleted {
			for _, l := range p.Lines {
				b.want(p.TransactionID, b.sold(p.Kind, l.ProductID, -l.Quantity))
			}
		}
	case domain.TransactionStatusChanged:
		b.want(p.TransactionID, nil)
		t, known := b.state.Transactions[p.TransactionID]
		if !known {
			return // the state will say so
		}
		switch {
		case p.To == domain.StatusCompleted:
			for _, l := range t.Lines {
				b.want(p.TransactionID, b.sold(t.Kind, l.ProductID, -l.Quantity))
			}
		case p.To == domain.StatusVoided && p.From == domain.StatusCompleted:
			for _, l := range t.Lines {
				if product, known := b.state.Products[l.ProductID]; known && !product.Deleted {
					b.want(p.TransactionID, b.sold(t.Kind, l.ProductID, l.Quantity))
				}
			}
		}
		for _, l := range p.Lines {
			if l.Restock {
				b.want(p.TransactionID, b.sold(t.Kind, l.ProductID, l.Quantity))
			}
		}
	case domain.TransferDispatched:
		for _, l := range p.Lines {
			b.want(p.TransferID, map[string]int64{l.ProductID: -l.Quantity})
		}
	case domain.TransferReceived:
		for _, l := range p.Lines {
			b.want(p.TransferID, map[string]int64{l.ProductID: l.Received})
		}
	case domain.TransferReturned:
		for _, l := range p.Lines {
			b.want(p.TransferID, map[string]int64{l.ProductID: l.Quantity - l.WrittenOff})
		}
	}
}

// sold is the movement of a line of a sale, which is the other way round for a
// purchase.
func (b *branch) sold(kind, productID string, delta int64) map[string]int64 {
	if kind == domain.KindPurchase {
		delta = -delta
	}
	return map[string]int64{productID: delta}
}

func (b *branch) want(ref string, movements map[string]int64) { add(b.due, ref, movements) }

func add(sums map[string]map[string]int64, ref string, movements map[string]int64) {
	if sums[ref] == nil {
		sums[ref] = map[string]int64{}
	}
	for product, delta := range movements {
		sums[ref][product] += delta
	}
}

// account adds up what an event says has moved; it was folded in.
func (a *Audit) account(b *branch, e *domain.Event, payload domain.Payload) {
	switch p := payload.(type) {
	case domain.InventoryUpdated:
		b.stock[p.ProductID] += p.Delta // the state has checked for overflow
		if got := b.stock[p.ProductID]; got != p.Stock {
			a.breach("stock", "product %s of branch %s has stock %d, the sum of its deltas is %d", p.ProductID, e.BranchID, p.Stock, got)
		}
		m, seen := b.touched[p.ProductID]
		if !seen {
			m.policy = b.state.Products[p.ProductID].NegativeStock
		}
		m.net += p.Delta
		b.touched[p.ProductID] = m
		switch {
		case p.TransactionID != "":
			add(b.done, p.TransactionID, map[string]int64{p.ProductID: p.Delta})
		case b.due[p.Ref] != nil:
			add(b.done, p.Ref, map[string]int64{p.ProductID: p.Delta})
		}
	case domain.TransactionStatusChanged:
		t := b.state.Transactions[p.TransactionID]
		for _, l := range t.Lines {
			if l.Refunded > l.Quantity {
				a.breach("movement", "transaction %s: %d of product %s refunded, %d sold", p.TransactionID, l.Refunded, l.ProductID, l.Quantity)
			}
		}
		if t.RefundedMinor > t.TotalMinor {
			a.breach("movement", "transaction %s: %d refunded of %d", p.TransactionID, t.RefundedMinor, t.TotalMinor)
		}
	default:
		a.transfer(payload)
	}
}

// balance judges a commit as a whole.
func (a *Audit) balance(b *branch) {
	for _, ref := range sortedKeys(b.due, b.done) {
		for _, product := range sortedKeys(b.due[ref], b.done[ref]) {
			if want, got := b.due[ref][product], b.done[ref][product]; want != got {
				a.breach("movement", "%s moves product %s by %d, its lines say %d", ref, product, got, want)
			}
		}
	}
	for _, product := range sortedKeys(b.touched, nil) {
		m := b.touched[product]
		left := b.stock[product]
		if left < 0 && m.net < 0 && m.policy != domain.NegativeAllow && a.commit.CommandType != domain.CommandSubmitSync {
			a.breach("stock", "product %s of branch %s goes down by %d to %d, its policy is %q", product, b.state.ID, -m.net, left, m.policy)
		}
	}
}

func sortedKeys[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(make([]string, 0, len(a)+len(b)), maps.Keys(a))
	keys = slices.AppendSeq(keys, maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}
