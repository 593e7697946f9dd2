package audit

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"bms/domain"
)

func audited(log []*domain.Commit, c Config) Report {
	a := New(c)
	for _, commit := range log {
		a.Commit(commit)
	}
	return a.Finish()
}

// Test_a_log_as_the_node_writes_it_has_no_breach over many histories: what an
// audit complains of is a breach.
func Test_a_log_as_the_node_writes_it_has_no_breach(t *testing.T) {
	var all Report
	for seed := range uint64(60) {
		mode := domain.AlertEvery
		if seed%3 == 0 {
			mode = domain.AlertEscalation
		}
		w := newWorld(t, mode)
		w.trade(rand.New(rand.NewPCG(seed, 1)), 150)
		for _, c := range []Config{{Grace: time.Millisecond}, {Grace: time.Millisecond, Alerts: mode}} {
			r := audited(w.fromDisk(), c)
			if r.Broken > 0 {
				t.Fatalf("seed %d: %d breaches, first %v", seed, r.Broken, r.Breaches[0])
			}
			if r.Head != w.log[len(w.log)-1].Position || r.Commits != int64(len(w.log)) || r.Pending != 0 {
				t.Fatalf("seed %d: %+v of a log of %d", seed, r, len(w.log))
			}
			all.Transfers += r.Transfers
			all.InTransit += r.InTransit
			all.Alerts += r.Alerts
			all.Users += r.Users
			all.Unalerted += r.Unalerted
		}
	}
	if all.Transfers == 0 || all.InTransit == 0 || all.Alerts == 0 || all.Users == 0 || all.Unalerted == 0 {
		t.Fatalf("these histories prove little: %+v", all)
	}
}

// Test_every_forgery_is_caught changes one thing of a sound log at a time.
func Test_every_forgery_is_caught(t *testing.T) {
	w := newWorld(t, domain.AlertEvery)
	w.trade(rand.New(rand.NewPCG(4, 2)), 900)
	for name, f := range map[string]struct {
		rule  string
		forge func(t *testing.T, log []*domain.Commit) (forged []*domain.Commit, at *domain.Commit)
	}{
		"a commit is missing": {"sequence", func(_ *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return append(log[:100:100], log[101:]...), log[101]
		}},
		"an earlier epoch": {"sequence", func(_ *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			log[99].Placed(6, 100)
			return log, log[99]
		}},
		"a stream's version is missing": {"version", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, _ := find[domain.TransactionCreated](t, log, nil)
			c.Version++
			return log, c
		}},
		"a command twice": {"command", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, _ := find[domain.TransactionCreated](t, log, nil)
			c.CommandID = log[0].CommandID
			c.Events[0].ID = domain.EventID(c.At, c.UserID, c.CommandID, 0)
			return log, c
		}},
		"an id of its own": {"event id", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find[domain.InventoryUpdated](t, log, nil)
			c.Events[i].ID = log[0].Events[0].ID
			return log, c
		}},
		"an event of somebody else": {"event id", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find[domain.InventoryUpdated](t, log, nil)
			c.Events[i].UserID = "mallory"
			return log, c
		}},
		"a type nobody knows": {"decode", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find[domain.InventoryUpdated](t, log, nil)
			c.Events[i].Type = "price:rumoured"
			return log, c
		}},
		"a newer version": {"decode", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find[domain.LowStockAlert](t, log, nil)
			c.Events[i].Version = 99
			return log, c
		}},
		"data of another shape": {"decode", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find[domain.InventoryUpdated](t, log, nil)
			c.Events[i].Data = []byte(`{"delta":"many"}`)
			return log, c
		}},
		"an event in another branch's stream": {"evolve", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find(t, log, func(c *domain.Commit, _ domain.InventoryUpdated) bool { return c.Stream == domain.StreamOfBranch("b1") })
			c.Events[i].BranchID = "b2"
			return log, c
		}},
		"stock out of nothing": {"evolve", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, nil, func(p *domain.InventoryUpdated) { p.Stock++ })
		}},
		"more refunded than sold": {"evolve", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, func(_ *domain.Commit, p domain.TransactionStatusChanged) bool { return len(p.Lines) > 0 }, func(p *domain.TransactionStatusChanged) { p.Lines[0].Quantity += 1000 })
		}},
		"a device's operation twice": {"evolve", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			first, _ := find[domain.SyncHandled](t, log, nil)
			payload, _ := first.Events[len(first.Events)-2].Payload()
			handled, ok := payload.(domain.SyncHandled)
			if !ok {
				t.Fatalf("forge another: %+v", payload)
			}
			return log, forge(t, log, func(c *domain.Commit, p domain.SyncHandled) bool {
				return c != first && c.Stream == first.Stream && p.DeviceID == handled.DeviceID
			}, func(p *domain.SyncHandled) { p.Seqs = handled.Seqs })
		}},
		"a stream of events of nothing": {"evolve", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, _ := find[domain.SystemNotification](t, log, func(c *domain.Commit, _ domain.SystemNotification) bool {
				return c.Stream == domain.StreamNotifications && c.Version == 1
			})
			c.Stream = "elsewhere"
			return log, c
		}},
		"below zero against the policy": {"stock", func(t *testing.T, _ []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			// A sale that is taken offline and refused online, as if it had
			// been made online.
			small := newWorld(t, domain.AlertEvery)
			small.do("b1", domain.CommandSubmitSync, domain.SubmitSync{DeviceID: "d1", FromSeq: 1, Operations: []domain.SyncOperation{
				{Seq: 1, Lines: []domain.TransactionLine{{ProductID: "offline", Quantity: 25}}},
			}})
			log := small.fromDisk()
			c := log[len(log)-1]
			c.CommandType = domain.CommandCreateTransaction
			return log, c
		}},
		"a sale that leaves goods behind": {"movement", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, func(_ *domain.Commit, p domain.TransactionCreated) bool { return p.Status == domain.StatusCompleted }, func(p *domain.TransactionCreated) { p.Lines[0].Quantity++ })
		}},
		"a refund that brings nothing back": {"movement", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, func(_ *domain.Commit, p domain.TransactionStatusChanged) bool {
				return len(p.Lines) > 0 && !p.Lines[0].Restock
			}, func(p *domain.TransactionStatusChanged) { p.Lines[0].Restock = true })
		}},
		"a transfer that takes more than it says": {"movement", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, nil, func(p *domain.TransferDispatched) { p.Lines[0].Quantity-- })
		}},
		"more announced than dispatched": {"transfer", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, nil, func(p *domain.TransferAnnounced) { p.Lines[0].Quantity++ })
		}},
		"announced and never dispatched": {"transfer", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			sent, _ := find[domain.TransferAnnounced](t, log, nil)
			return log, forge(t, log, nil, func(p *domain.TransferAnnounced) { p.TransferID = "0" + p.TransferID[1:] + "x"; _ = sent })
		}},
		"more withdrawn than in transit": {"transfer", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, nil, func(p *domain.TransferWithdrawn) { p.Lines[0].Quantity++ })
		}},
		"less back than withdrawn": {"transfer", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, nil, func(p *domain.TransferReturned) { p.Lines = p.Lines[:len(p.Lines)-1] })
		}},
		"a transfer nobody announced": {"follow-up", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			// One that nothing came of: its receiver's stream goes on without.
			touched := map[string]int{}
			for _, c := range log {
				for i := range c.Events {
					touched[domain.Touched(&c.Events[i]).ID]++
				}
			}
			gone, i := find(t, log, func(_ *domain.Commit, p domain.TransferAnnounced) bool { return touched[p.TransferID] == 2 })
			payload, _ := gone.Events[i].Payload()
			sent, _ := find(t, log, func(_ *domain.Commit, p domain.TransferDispatched) bool {
				return p.TransferID == payload.(domain.TransferAnnounced).TransferID
			})
			return without(log, gone), sent
		}},
		"an alert that is missing": {"alert", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			gone, i := find(t, log, func(_ *domain.Commit, p domain.LowStockAlert) bool { return p.First })
			payload, _ := gone.Events[i].Payload()
			pos := payload.(domain.LowStockAlert).CausePos
			cause := log[pos.Seq-1]
			return without(log, gone), cause
		}},
		"an alert without a cause": {"alert", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find[domain.LowStockAlert](t, log, nil)
			return log, forge(t, log, nil, func(p *domain.LowStockAlert) {
				p.CausePos = log[0].Position
				c.CommandID = domain.AlertCommandID(p.CausePos)
				c.Events[i].ID = domain.EventID(c.At, "", c.CommandID, 0)
			})
		}},
		"an alert that says something else": {"alert", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			return log, forge(t, log, nil, func(p *domain.LowStockAlert) { p.Stock-- })
		}},
		"an alert under another id": {"alert", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			c, i := find[domain.LowStockAlert](t, log, nil)
			c.CommandID = "low-stock/again"
			c.Events[i].ID = domain.EventID(c.At, "", c.CommandID, 0)
			return log, c
		}},
		"acknowledged before it was sent": {"acknowledged", func(t *testing.T, log []*domain.Commit) ([]*domain.Commit, *domain.Commit) {
			last := log[len(log)-1].Position
			var forged *domain.Commit
			for _, c := range log { // the last, or the next would be before it
				if len(c.Events) > 0 && c.Events[0].Type == domain.TypeNotificationsAcked {
					forged = c
				}
			}
			forge(t, log, func(c *domain.Commit, _ domain.NotificationsAcked) bool { return c == forged }, func(p *domain.NotificationsAcked) { p.Pos = domain.Position{Epoch: last.Epoch, Seq: last.Seq + 1} })
			return log, forged
		}},
	} {
		t.Run(name, func(t *testing.T) {
			forged, at := f.forge(t, w.fromDisk())
			r := audited(forged, Config{Alerts: domain.AlertEvery, Grace: time.Millisecond})
			if r.Broken == 0 {
				t.Fatal("no breach")
			}
			first := r.Breaches[0]
			if first.Rule != f.rule || first.Position.Seq != at.Position.Seq {
				t.Fatalf("first breach %v, want %s at %s", first, f.rule, at.Position)
			}
			if unknown := name == "a type nobody knows" || name == "a newer version"; unknown != errors.Is(first.Err, domain.ErrUnknownEvent) {
				t.Fatalf("got %v, is it of an unknown event: %t", first.Err, !unknown)
			}
		})
	}
}

func Test_what_is_not_old_enough_is_pending_and_not_missing(t *testing.T) {
	w := newWorld(t, domain.AlertEvery)
	w.do("b1", domain.CommandDispatchTransfer, domain.DispatchTransfer{ToBranchID: "b2", Lines: []domain.TransferLine{{ProductID: "deny", Quantity: 18}}})
	for grace, want := range map[time.Duration]Report{time.Minute: {Pending: 2}, time.Nanosecond: {Pending: 2}} {
		if r := audited(w.fromDisk(), Config{Grace: grace}); r.Pending != want.Pending || r.Broken != 0 {
			t.Errorf("grace %v: %+v, want %+v", grace, r, want)
		}
	}
	w.do("b2", domain.CommandChangeBranch, domain.ChangeBranch{Name: new("new")}) // a second later
	if r := audited(w.fromDisk(), Config{Grace: time.Millisecond}); r.Pending != 0 || r.Broken != 2 {
		t.Errorf("got %+v, want two breaches", r)
	}
}

func Test_messages_are_passed_by_and_breaches_bounded(t *testing.T) {
	log := []*domain.Commit{}
	for i := range uint64(50) {
		c := &domain.Commit{Stream: "orders", Version: i + 1, Message: []byte("m")}
		c.Placed(1, i+1)
		log = append(log, c)
	}
	if r := audited(log, Config{}); r.Broken != 0 || r.Messages != 50 {
		t.Fatalf("got %+v, want 50 messages and no breach", r)
	}
	for _, c := range log {
		c.Version = 7
	}
	if r := audited(log, Config{Breaches: 5}); r.Broken != 50 || len(r.Breaches) != 5 {
		t.Fatalf("got %d breaches, %d kept, want 50 and 5", r.Broken, len(r.Breaches))
	}
}
