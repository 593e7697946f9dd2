package audit

import (
	"slices"
	"time"

	"bms/domain"
)

// transfer is what both branches say of one, in their order in the log.
type transfer struct {
	from, to string
	begun    domain.Position
	lines    map[string]*units // by product
	over     string            // "withdrawn" or "refused" once the receiver takes no more
	returned bool
}

// units are those of a product in a transfer.
type units struct{ out, received, damaged, back int64 }

func (u *units) left() int64 { return u.out - u.received - u.damaged - u.back }

// transfer looks at an event of a transfer.
func (a *Audit) transfer(payload domain.Payload) {
	if a.lost {
		return
	}
	switch p := payload.(type) {
	case domain.TransferDispatched:
		if _, known := a.transfers[p.TransferID]; known {
			a.breach("transfer", "transfer %s was dispatched before", p.TransferID)
			return
		}
		t := &transfer{from: p.FromBranchID, to: p.ToBranchID, begun: a.commit.Position, lines: map[string]*units{}}
		for _, l := range p.Lines {
			if t.lines[l.ProductID] == nil {
				t.lines[l.ProductID] = &units{}
			}
			t.lines[l.ProductID].out += l.Quantity
		}
		a.transfers[p.TransferID] = t
	case domain.TransferAnnounced:
		if t := a.known(p.TransferID, p.FromBranchID, p.ToBranchID); t != nil {
			a.same("announced", p.TransferID, t, p.Lines)
		}
	case domain.TransferRefused:
		if t := a.known(p.TransferID, p.FromBranchID, p.ToBranchID); t != nil {
			a.same("refused", p.TransferID, t, p.Lines)
			t.over = "refused"
		}
	case domain.TransferReceived:
		t := a.transfers[p.TransferID]
		if t == nil || t.over != "" {
			a.breach("transfer", "transfer %s is received and was not on its way", p.TransferID)
			return
		}
		for _, l := range p.Lines {
			u := t.lines[l.ProductID]
			if u == nil || l.Received < 0 || l.Damaged < 0 || l.Received+l.Damaged > u.left() {
				a.breach("transfer", "transfer %s: more of product %s has come than was in transit", p.TransferID, l.ProductID)
				continue
			}
			u.received += l.Received
			u.damaged += l.Damaged
		}
	case domain.TransferWithdrawn:
		if t := a.known(p.TransferID, p.FromBranchID, p.ToBranchID); t != nil {
			a.same("withdrawn", p.TransferID, t, p.Lines)
			t.over = "withdrawn"
		}
	case domain.TransferReturned:
		t := a.transfers[p.TransferID]
		if t == nil || t.over == "" || t.returned {
			a.breach("transfer", "transfer %s comes back and was not withdrawn or refused", p.TransferID)
			return
		}
		t.returned = true
		back := make([]domain.TransferLine, len(p.Lines))
		for i, l := range p.Lines {
			back[i] = domain.TransferLine{ProductID: l.ProductID, Quantity: l.Quantity}
		}
		a.same("returned", p.TransferID, t, back)
		for _, l := range back {
			if u := t.lines[l.ProductID]; u != nil {
				u.back += l.Quantity
			}
		}
	}
}

// known finds a transfer that the other branch has spoken of.
func (a *Audit) known(id, from, to string) *transfer {
	t := a.transfers[id]
	if t == nil || t.from != from || t.to != to || t.over != "" {
		a.breach("transfer", "transfer %s from %s to %s is not on its way", id, from, to)
		return nil
	}
	return t
}

// same compares lines with what is in transit: all of it, and no more.
func (a *Audit) same(what, id string, t *transfer, lines []domain.TransferLine) {
	said := map[string]int64{}
	for _, l := range lines {
		said[l.ProductID] += l.Quantity
	}
	for _, product := range sortedKeys(said, nil) {
		if t.lines[product] == nil {
			a.breach("transfer", "transfer %s: %d of product %s %s, none was dispatched", id, said[product], product, what)
		}
	}
	for _, product := range sortedKeys(t.lines, nil) {
		if left := t.lines[product].left(); said[product] != left {
			a.breach("transfer", "transfer %s: %d of product %s %s, %d in transit", id, said[product], product, what, left)
		}
	}
}

func (a *Audit) finishTransfers() {
	for _, t := range a.transfers {
		a.report.Transfers++
		for _, u := range t.lines {
			a.report.InTransit += u.left()
		}
	}
}

// entails notes what has to follow from an event.
func (a *Audit) entails(e *domain.Event) {
	commands, err := domain.FollowUps(e)
	if err != nil {
		return // its payload was decoded before
	}
	for _, c := range commands {
		a.follow[c.ID] = due{pos: e.Pos, at: e.At}
	}
}

func (a *Audit) finishFollowUps(late time.Time) {
	var missing []string
	for id, d := range a.follow {
		if d.at.Before(late) {
			missing = append(missing, id)
		} else {
			a.report.Pending++
		}
	}
	slices.SortFunc(missing, func(x, y string) int { return a.follow[x].pos.Compare(a.follow[y].pos) })
	for _, id := range missing {
		a.breachAt(a.follow[id].pos, "follow-up", "%s is not in the log", id)
	}
}
