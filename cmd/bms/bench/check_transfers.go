package bench

import (
	"slices"
	"strings"

	"bms/domain"
)

// transit is a product of a transfer.
type transit struct{ transfer, product string }

// checkTransfers checks that units are conserved between branches: what arrives
// or comes back was sent, and of a transfer that was received or cancelled
// nothing is under way any more.
func (c *checker) checkTransfers() {
	sent := map[transit]int64{}
	open := map[string]bool{} // transfers with a unit under way, or more than that
	for i := range c.h.Log {
		e := &c.h.Log[i]
		if e.Transfer == "" || !slices.Contains(c.h.Branches, e.BranchID) {
			continue
		}
		key := transit{e.Transfer, e.ProductID}
		sent[key] -= e.Delta
		if sent[key] < 0 {
			c.found(Transfer, e.Transfer, e.Pos, "%d of product %s have come that were never sent", -sent[key], e.ProductID)
			sent[key] = 0
		}
	}
	for key, left := range sent {
		if left != 0 {
			open[key.transfer] = true
		}
	}
	for i := range c.h.Commands {
		cmd := &c.h.Commands[i]
		id, over := strings.CutPrefix(cmd.Mark, markIn)
		if !over {
			id, over = strings.CutPrefix(cmd.Mark, markCancelled)
		}
		if over && cmd.Outcome == Answered && open[id] && !c.h.Forgetful {
			c.found(Transfer, id, domain.Position{}, "%q was answered, and something is under way still", cmd.Mark)
		}
	}
}
