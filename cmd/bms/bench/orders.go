package bench

import (
	"encoding/json"
	"fmt"
	"net/http"

	"bms/domain"
)

// order is a command as it is sent.
type order struct {
	method, path string
	body         []byte
	// mark is what the command is known by in its events; empty for its key.
	mark string
	// answered, unless nil, reads the answer, and outcome is told what became
	// of the command and says whether it is to be kept for Check.
	answered func(cmd *Command, body []byte) error
	outcome  func(cmd *Command) bool
}

type sale struct{ branch, id string }

// transfer is stock on its way between two branches.
type transfer struct{ from, to, id string }

// Marks of transfers, which the server names. Of a dispatch that has no answer
// nobody knows the name.
const (
	markOut       = "out "
	markIn        = "in "
	markBack      = "back " // the system's
	markCancelled = "cancelled "
	markUnnamed   = markOut + "?"
)

// next makes the next command: mostly sales, and of all else that moves stock a
// little.
func (c *commander) next(key string) order {
	branch := c.branches[c.random.IntN(len(c.branches))]
	at := c.random.IntN(100)
	in := func(percent int) bool { at -= percent; return at < 0 }
	switch {
	case in(7) && len(c.pending) > 0:
		return c.settle(key)
	case in(7):
		c.pending = append(c.pending, sale{branch, key})
		return c.transaction(branch, key, domain.KindSale, domain.StatusPending, 1+c.random.IntN(2), 3)
	case in(8):
		return c.transaction(branch, key, domain.KindPurchase, domain.StatusCompleted, 1, 40)
	case in(5):
		return c.adjust(branch, key)
	case in(2):
		return c.adjustSome(branch, key)
	case in(2):
		return c.offline(branch, key)
	case in(1):
		body := fmt.Appendf(nil, `{"name":%q,"minStock":%d}`, markPrefix+key, c.random.IntN(30))
		return order{method: http.MethodPatch, path: "/api/branches/" + branch + "/products/" + c.product(), body: body}
	case in(1):
		audience := c.audiences[c.random.IntN(len(c.audiences))]
		severity := []string{domain.SeverityInfo, domain.SeverityWarning, domain.SeverityCritical}[c.random.IntN(3)]
		body := fmt.Appendf(nil, `{"audience":%q,"severity":%q,"title":%q,"message":"a message of a load test"}`, audience, severity, key)
		return order{method: http.MethodPost, path: "/api/notifications", body: body}
	case in(3) && len(c.branches) > 1:
		return c.dispatch(branch, key)
	case in(4) && len(c.transit) > 0:
		return c.arrive()
	default:
		return c.transaction(branch, key, domain.KindSale, domain.StatusCompleted, 1+c.random.IntN(2), 3)
	}
}

func (c *commander) product() string { return productID(c.random.IntN(c.products)) }

func productID(i int) string { return fmt.Sprintf("p%d", i+1) }

// delta is a change of stock by up to five, up or down.
func (c *commander) delta() int {
	delta := 1 + c.random.IntN(5)
	if c.random.IntN(2) == 0 {
		return -delta
	}
	return delta
}

func (c *commander) transaction(branch, id, kind, status string, lines, quantity int) order {
	body := fmt.Appendf(nil, `{"transactionId":%q,"kind":%q,"status":%q,"lines":[`, id, kind, status)
	body = append(c.lines(body, lines, quantity), `]}`...)
	return order{method: http.MethodPost, path: "/api/branches/" + branch + "/transactions", body: body}
}

func (c *commander) lines(body []byte, lines, quantity int) []byte {
	for i := range lines {
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"productId":%q,"quantity":%d}`, c.product(), 1+c.random.IntN(quantity))
	}
	return body
}

// settle moves one of the pending sales on.
func (c *commander) settle(key string) order {
	s := take(&c.pending, c.random.IntN(len(c.pending)))
	to := []string{domain.StatusCompleted, domain.StatusCompleted, domain.StatusVoided, domain.StatusFailed}[c.random.IntN(4)]
	body := fmt.Appendf(nil, `{"status":%q,"reason":%q}`, to, key)
	return order{method: http.MethodPost, path: "/api/branches/" + s.branch + "/transactions/" + s.id + "/status", body: body}
}

// take removes an element; the order of the others doesn't matter.
func take[T any](s *[]T, i int) T {
	v := (*s)[i]
	(*s)[i] = (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return v
}

func (c *commander) adjust(branch, key string) order {
	body := fmt.Appendf(nil, `{"productId":%q,"delta":%d,"reason":"correction","ref":%q}`, c.product(), c.delta(), key)
	return order{method: http.MethodPost, path: "/api/branches/" + branch + "/inventory/adjustments", body: body}
}

// adjustSome changes the stock of some products, all or as many as can be.
func (c *commander) adjustSome(branch, key string) order {
	mode := []string{domain.BulkAtomic, domain.BulkPerLine}[c.random.IntN(2)]
	body := fmt.Appendf(nil, `{"mode":%q,"lines":[`, mode)
	for i := range 2 + c.random.IntN(6) {
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"productId":%q,"delta":%d,"reason":"correction","ref":%q}`, c.product(), 3*c.delta(), key)
	}
	return order{method: http.MethodPost, path: "/api/branches/" + branch + "/inventory/adjustments/bulk", body: append(body, `]}`...)}
}

// offline hands in some sales of a device that was offline. Each batch is
// another device's, which is what its events are known by.
func (c *commander) offline(branch, key string) order {
	body := fmt.Appendf(nil, `{"deviceId":%q,"fromSeq":1,"operations":[`, key)
	for i := range 1 + c.random.IntN(4) {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(c.lines(fmt.Appendf(body, `{"seq":%d,"lines":[`, i+1), 1+c.random.IntN(2), 3), `]}`...)
	}
	return order{method: http.MethodPost, path: "/api/branches/" + branch + "/sync", body: append(body, `]}`...)}
}

// dispatch sends stock to another branch.
func (c *commander) dispatch(from, key string) order {
	to := from
	for to == from {
		to = c.branches[c.random.IntN(len(c.branches))]
	}
	body := append(c.lines(fmt.Appendf(nil, `{"toBranchId":%q,"lines":[`, to), 1+c.random.IntN(2), 5), `]}`...)
	return order{
		method: http.MethodPost, path: "/api/branches/" + from + "/transfers", body: body, mark: markUnnamed + key,
		answered: func(cmd *Command, body []byte) error {
			var answer struct {
				Result domain.DispatchResult `json:"result"`
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				return fmt.Errorf("read the answer %.300q: %w", body, err)
			}
			cmd.Mark = markOut + answer.Result.TransferID
			c.transit = append(c.transit, transfer{from, to, answer.Result.TransferID})
			return nil
		},
	}
}

// arrive has a transfer received, or now and then cancelled. One that has not
// been heard of where it goes to yet is tried again.
func (c *commander) arrive() order {
	t := take(&c.transit, c.random.IntN(len(c.transit)))
	o := order{method: http.MethodPost, path: "/api/branches/" + t.to + "/transfers/" + t.id + "/receive", body: []byte("{}"), mark: markIn + t.id}
	if c.random.IntN(4) == 0 {
		o.path, o.mark = "/api/branches/"+t.from+"/transfers/"+t.id+"/cancel", markCancelled+t.id
	}
	o.outcome = func(cmd *Command) bool {
		if cmd.Outcome == Rejected {
			c.transit = append(c.transit, t)
		}
		return cmd.Outcome != Rejected
	}
	return o
}
