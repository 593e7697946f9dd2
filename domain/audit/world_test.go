package audit

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bms/domain"
)

// world writes a log as the node does: commands decided one after the other,
// follow-ups and alerts some time after what they follow from.
type world struct {
	t        testing.TB
	mode     domain.AlertMode
	log      []*domain.Commit
	states   map[string]domain.State
	versions map[string]uint64
	pending  []domain.Command
	levels   map[string]domain.AlertState
	names    map[string]string
	alerts   []func() *domain.Commit
	made     int
}

var admin = domain.Identity{UserID: "boss", Role: domain.RoleAdmin}

func newWorld(t testing.TB, mode domain.AlertMode) *world {
	w := &world{
		t: t, mode: mode, states: map[string]domain.State{}, versions: map[string]uint64{},
		levels: map[string]domain.AlertState{}, names: map[string]string{},
	}
	for _, b := range []string{"b1", "b2"} {
		w.do(b, domain.CommandOpenBranch, domain.OpenBranch{BranchID: b, Name: b})
		for p, policy := range map[string]string{"deny": domain.NegativeDeny, "allow": domain.NegativeAllow, "offline": domain.NegativeOfflineOnly} {
			w.do(b, domain.CommandCreateProduct, domain.CreateProduct{
				ProductID: p, SKU: "sku-" + p, Name: p, PriceMinor: 199, Currency: "EUR", Stock: new(int64(20)), MinStock: 5, NegativeStock: policy,
			})
		}
	}
	return w
}

func (w *world) at() time.Time {
	w.made++
	return time.UnixMilli(1_790_000_000_000 + int64(w.made)*1000).UTC()
}

// do has a command of the boss decided; a rejection leaves no trace.
func (w *world) do(branch, commandType string, body any) *domain.Commit {
	return w.submit(domain.Command{ID: fmt.Sprint("c", w.made), Type: commandType, BranchID: branch, Identity: admin, Body: body})
}

func (w *world) submit(c domain.Command) *domain.Commit {
	w.t.Helper()
	c.At = w.at()
	stream, err := domain.StreamOf(c)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.states[stream] == nil {
		if w.states[stream], err = domain.NewState(stream); err != nil {
			w.t.Fatal(err)
		}
	}
	d, r := w.states[stream].Decide(c)
	if r != nil {
		return nil
	}
	commit, err := domain.NewCommit(stream, w.versions[stream]+1, c, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.append(commit)
}

func (w *world) append(c *domain.Commit) *domain.Commit {
	w.versions[c.Stream] = c.Version
	c.Placed(7, uint64(len(w.log)+1))
	w.log = append(w.log, c)
	for i := range c.Events {
		e := &c.Events[i]
		if s := w.states[c.Stream]; s != nil {
			if err := s.Evolve(e); err != nil {
				w.t.Fatal(err)
			}
		}
		follow, err := domain.FollowUps(e)
		if err != nil {
			w.t.Fatal(err)
		}
		w.pending = append(w.pending, follow...)
		w.derive(e)
	}
	return c
}

func (w *world) derive(e *domain.Event) {
	payload, err := e.Payload()
	if err != nil {
		w.t.Fatal(err)
	}
	key := e.BranchID + "/"
	switch p := payload.(type) {
	case domain.InventoryUpdated:
		key += p.ProductID
	case domain.ProductUpdated:
		key += p.ProductID
		defer func() { w.names[key] = p.Product.Name }()
	}
	alert, emit, now, err := domain.DeriveAlert(w.mode, w.levels[key], w.names[key], e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.levels[key] = now
	if emit {
		cause := *e
		w.alerts = append(w.alerts, func() *domain.Commit {
			c, err := domain.NewAlertCommit(w.versions[domain.StreamOfAlerts(cause.BranchID)]+1, w.at(), &cause, alert)
			if err != nil {
				w.t.Fatal(err)
			}
			return c
		})
	}
}

// settle gives what is pending, and what follows from that.
func (w *world) settle() {
	for len(w.pending) > 0 {
		c := w.pending[0]
		w.pending = w.pending[1:]
		if w.submit(c) == nil {
			w.t.Fatalf("follow-up %s is rejected", c.ID)
		}
	}
	for len(w.alerts) > 0 {
		a := w.alerts[0]
		w.alerts = w.alerts[1:]
		w.append(a())
	}
}

// trade gives random commands.
func (w *world) trade(random *rand.Rand, steps int) {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	product := func() string { return pick("deny", "allow", "offline") }
	few := func() int64 { return 1 + random.Int64N(6) }
	var sales, transfers []string
	for step := range steps {
		b := pick("b1", "b2")
		lines := []domain.TransactionLine{{ProductID: product(), Quantity: few()}, {ProductID: product(), Quantity: few()}}
		switch random.IntN(16) {
		case 0, 1, 2:
			id := fmt.Sprint("t", step)
			w.do(b, domain.CommandCreateTransaction, domain.CreateTransaction{
				TransactionID: id, Kind: pick(domain.KindSale, domain.KindPurchase), Status: pick(domain.StatusCompleted, domain.StatusPending), Lines: lines,
			})
			sales = append(sales, b, id)
		case 3, 4, 5, 6:
			if len(sales) == 0 {
				continue
			}
			i := random.IntN(len(sales)/2) * 2
			body := domain.SetTransactionStatus{
				TransactionID: sales[i+1], Reason: "because",
				Status: pick(domain.StatusCompleted, domain.StatusVoided, domain.StatusFailed, domain.StatusRefunded, domain.StatusPartiallyRefunded),
			}
			if body.Status == domain.StatusPartiallyRefunded {
				restock := random.IntN(2) == 0
				body.Lines = []domain.RefundRequestLine{{ProductID: product(), Quantity: 1, Restock: &restock}}
			}
			w.do(sales[i], domain.CommandSetTransactionStatus, body)
		case 7:
			w.do(b, domain.CommandAdjustStock, domain.AdjustStock{ProductID: product(), Delta: random.Int64N(30) - 12, Reason: "because"})
		case 8:
			w.do(b, domain.CommandCountStock, domain.CountStock{ProductID: product(), Counted: random.Int64N(30)})
		case 9:
			stock, minimum, policy := random.Int64N(20), random.Int64N(12), pick(domain.NegativeAllow, domain.NegativeDeny)
			w.do(b, domain.CommandChangeProduct, domain.ChangeProduct{ProductID: product(), Stock: &stock, MinStock: &minimum, NegativeStock: &policy})
		case 10, 11:
			to := map[string]string{"b1": pick("b2", "b9"), "b2": pick("b1", "b1", "b9")}[b]
			if c := w.do(b, domain.CommandDispatchTransfer, domain.DispatchTransfer{ToBranchID: to, Lines: []domain.TransferLine{{ProductID: product(), Quantity: few()}, {ProductID: product(), Quantity: few()}}}); c != nil {
				p, err := c.Events[0].Payload()
				if err != nil {
					w.t.Fatal(err)
				}
				transfers = append(transfers, b, to, p.(domain.TransferDispatched).TransferID)
			}
		case 12, 13:
			if len(transfers) == 0 {
				continue
			}
			i := random.IntN(len(transfers)/3) * 3
			if random.IntN(3) == 0 {
				w.do(transfers[i], domain.CommandCancelTransfer, domain.CancelTransfer{TransferID: transfers[i+2]})
				continue
			}
			lines := []domain.ReceivedLine{{ProductID: product(), Received: random.Int64N(3), Damaged: 1}}
			w.do(transfers[i+1], domain.CommandReceiveTransfer, domain.ReceiveTransfer{TransferID: transfers[i+2], Lines: &lines})
		case 14:
			from := int64(1 + random.IntN(4))
			w.do(b, domain.CommandSubmitSync, domain.SubmitSync{DeviceID: pick("d1", "d2"), FromSeq: from, Operations: []domain.SyncOperation{
				{Seq: from, Lines: lines}, {Seq: from + 1, Lines: lines[:1]}, {Seq: int64(step + 10), Lines: lines[1:]},
			}})
		case 15:
			switch random.IntN(5) {
			case 0:
				w.do("", domain.CommandSetUser, domain.SetUser{UserID: pick("u1", "u2"), Role: domain.RoleStaff, Branches: []string{b}, Name: fmt.Sprint(step)})
			case 1:
				w.do("", domain.CommandSendNotification, domain.SendNotification{Audience: "notifications:boss", Severity: domain.SeverityInfo, Title: "t", Message: "m"})
			case 2:
				w.do("", domain.CommandAckNotifications, domain.AckNotifications{Pos: w.log[len(w.log)-1].Position.String()})
			case 3:
				if random.IntN(3) == 0 {
					id := fmt.Sprint("short-lived", step)
					w.do(b, domain.CommandCreateProduct, domain.CreateProduct{ProductID: id, SKU: id, Name: id, PriceMinor: 1, Currency: "EUR", Stock: new(int64(3)), MinStock: 9})
					w.do(b, domain.CommandCreateTransaction, domain.CreateTransaction{TransactionID: id, Kind: domain.KindSale, Status: domain.StatusCompleted, Lines: []domain.TransactionLine{{ProductID: id, Quantity: 2}}})
					sales = append(sales, b, id)
					w.do(b, domain.CommandDeleteProduct, domain.DeleteProduct{ProductID: id})
				}
			}
		}
		if random.IntN(3) == 0 {
			w.settle()
		}
	}
	w.settle()
}

// fromDisk is a copy of the log as it is read from disk.
func (w *world) fromDisk() []*domain.Commit {
	log := make([]*domain.Commit, len(w.log))
	for i, c := range w.log {
		clone := *c
		clone.Events = make([]domain.Event, len(c.Events))
		for j, e := range c.Events {
			clone.Events[j] = domain.Event{
				ID: e.ID, Type: e.Type, Version: e.Version, BranchID: e.BranchID, UserID: e.UserID, At: e.At, Data: slices.Clone(e.Data), Pos: e.Pos,
			}
		}
		log[i] = &clone
	}
	return log
}

// find returns the first commit from an index on that has an event of a type
// and holds to a condition, and the event's index.
func find[P domain.Payload](t *testing.T, log []*domain.Commit, holds func(*domain.Commit, P) bool) (c *domain.Commit, event int) {
	t.Helper()
	for _, c := range log {
		for i := range c.Events {
			payload, err := c.Events[i].Payload()
			if err != nil {
				t.Fatal(err)
			}
			if p, ok := payload.(P); ok && (holds == nil || holds(c, p)) {
				return c, i
			}
		}
	}
	var p P
	t.Fatalf("there is no %s to forge", p.EventType())
	return nil, 0
}

// forge changes the first event of a type that holds to a condition.
func forge[P domain.Payload](t *testing.T, log []*domain.Commit, holds func(*domain.Commit, P) bool, change func(*P)) *domain.Commit {
	t.Helper()
	c, i := find(t, log, holds)
	payload, err := c.Events[i].Payload()
	if err != nil {
		t.Fatal(err)
	}
	p := payload.(P)
	change(&p)
	if c.Events[i].Data, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	return c
}

// without is the log without a commit, as if it had never been.
func without(log []*domain.Commit, gone *domain.Commit) []*domain.Commit {
	var left []*domain.Commit
	for _, c := range log {
		if c == gone {
			continue
		}
		if c.Stream == gone.Stream && c.Version > gone.Version {
			c.Version--
		}
		left = append(left, c)
	}
	return renumber(left)
}

func renumber(log []*domain.Commit) []*domain.Commit {
	moved := map[domain.Position]domain.Position{}
	for i, c := range log {
		was := make([]domain.Position, len(c.Events))
		for j := range c.Events {
			was[j] = c.Events[j].Pos
		}
		c.Placed(7, uint64(i+1))
		for j := range c.Events {
			moved[was[j]] = c.Events[j].Pos
		}
	}
	for _, c := range log { // what speaks of positions
		for j := range c.Events {
			e := &c.Events[j]
			switch payload, _ := e.Payload(); p := payload.(type) {
			case domain.LowStockAlert:
				if to, ok := moved[p.CausePos]; ok {
					p.CausePos = to
					c.CommandID = domain.AlertCommandID(to)
					e.ID = domain.EventID(c.At, c.UserID, c.CommandID, j)
					e.Data, _ = json.Marshal(p)
				}
			case domain.NotificationsAcked:
				if to, ok := moved[p.Pos]; ok {
					p.Pos = to
					e.Data, _ = json.Marshal(p)
				}
			}
		}
	}
	return log
}
