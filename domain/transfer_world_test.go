package domain

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a log with the branches that decide on it and the follow-ups that
// are still to be given. A follow-up is lost by nobody: it goes from pending
// only when a commit with its id is in the log.
type world struct {
	t        *rapid.T
	branches map[string]*Branch // by stream
	log      []*Commit
	commands map[string]*Commit // by user and command id
	pending  map[string]Command // by id
	time     int
}

func newWorld(t *rapid.T, ids ...string) *world {
	w := &world{t: t, branches: map[string]*Branch{}, commands: map[string]*Commit{}, pending: map[string]Command{}}
	for _, id := range ids {
		w.state(StreamOfBranch(id))
		for _, body := range []any{OpenBranch{BranchID: id, Name: id}, product("p0", NegativeDeny), product("p1", NegativeAllow)} {
			if _, r := w.submit(Command{Type: typeOf(body), BranchID: id, Body: body}); r != nil {
				t.Fatal(r)
			}
		}
	}
	return w
}

func (w *world) state(stream string) *Branch {
	if w.branches[stream] == nil {
		s, err := NewState(stream)
		if err != nil {
			w.t.Fatal(err)
		}
		w.branches[stream] = s.(*Branch)
	}
	return w.branches[stream]
}

// submit decides a command on its stream and appends what comes of it.
func (w *world) submit(c Command) (*Commit, *Rejection) {
	w.time++
	c.At = now.Add(time.Duration(w.time) * time.Second)
	if c.ID == "" {
		c.ID, c.Identity = fmt.Sprint("c", w.time), who(RoleAdmin)
	}
	if made, there := w.commands[c.Identity.UserID+"\x00"+c.ID]; there {
		return made, nil
	}
	stream, err := StreamOf(c)
	if err != nil {
		w.t.Fatal(err)
	}
	b := w.state(stream)
	d, r := b.Decide(c)
	if r != nil {
		return nil, r
	}
	made, err := NewCommit(stream, 1, c, d)
	if err != nil {
		w.t.Fatal(err)
	}
	made.Placed(1, uint64(len(w.log)+1))
	w.log = append(w.log, made)
	w.commands[c.Identity.UserID+"\x00"+c.ID] = made
	if made.UserID == "" {
		delete(w.pending, made.CommandID)
	}
	for i := range made.Events {
		made.Events[i].payload = nil // as read from disk
		if err := b.Evolve(&made.Events[i]); err != nil {
			w.t.Fatalf("%s %+v: %v", c.Type, c.Body, err)
		}
		follow, err := FollowUps(&made.Events[i])
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range follow {
			w.pending[f.ID] = f
		}
	}
	return made, nil
}

// settle gives one pending follow-up; it must be taken.
func (w *world) settle(id string) {
	if _, r := w.submit(w.pending[id]); r != nil {
		w.t.Fatalf("follow-up %s is rejected: %v", id, r)
	}
	if _, still := w.pending[id]; still {
		w.t.Fatalf("follow-up %s is in the log and pending", id)
	}
}

func (w *world) pendingIDs() []string { return slices.Sorted(maps.Keys(w.pending)) }

// account is what the log says of one product of one transfer.
type account struct{ out, in, damaged, back, writtenOff int64 }

// check adds the log up and compares it with the states (invariant 8). It
// returns the units in transit.
func (w *world) check() (inTransit int64) {
	accounts := map[string]*account{} // by transfer and product
	of := func(transfer, product string) *account {
		key := transfer + " " + product
		if accounts[key] == nil {
			accounts[key] = &account{}
		}
		return accounts[key]
	}
	stock := map[string]int64{} // by branch and product
	others := int64(0)          // came and went by other ways than transfers
	for _, c := range w.log {
		for i := range c.Events {
			payload, err := c.Events[i].Payload()
			if err != nil {
				w.t.Fatal(err)
			}
			switch p := payload.(type) {
			case InventoryUpdated:
				key := c.Events[i].BranchID + " " + p.ProductID
				stock[key] += p.Delta
				if p.Stock != stock[key] {
					w.t.Fatalf("%s: stock %d, sum of deltas %d", key, p.Stock, stock[key])
				}
				switch p.Reason {
				case ReasonTransferOut:
					of(p.Ref, p.ProductID).out -= p.Delta
				case ReasonTransferIn:
					of(p.Ref, p.ProductID).in += p.Delta
				case ReasonTransferDamage:
					of(p.Ref, p.ProductID).damaged -= p.Delta
				case ReasonTransferReturn:
					of(p.Ref, p.ProductID).back += p.Delta
				default:
					others += p.Delta
				}
			case TransferReturned:
				for _, l := range p.Lines {
					of(p.TransferID, l.ProductID).writtenOff += l.WrittenOff
				}
			}
		}
	}
	sum, lost := int64(0), int64(0)
	for _, n := range stock {
		sum += n
	}
	for key, a := range accounts {
		left := a.out - a.in - a.back - a.writtenOff
		if left < 0 || a.out <= 0 || a.in < a.damaged || a.damaged < 0 || a.back < 0 {
			w.t.Fatalf("transfer %s: %+v", key, *a)
		}
		inTransit += left
		lost += a.damaged + a.writtenOff
	}
	if sum+inTransit+lost != others {
		w.t.Fatalf("%d in stock, %d in transit, %d lost; %d came and went", sum, inTransit, lost, others)
	}
	for stream, b := range w.branches {
		for id, p := range b.Products {
			if got := stock[b.ID+" "+id]; got != p.Stock {
				w.t.Fatalf("%s: %s has %d, by the log %d", stream, id, p.Stock, got)
			}
		}
	}
	return inTransit
}

// Test_transfers_conserve_units is invariant 8: over random commands in three
// branches, one of which is not there, with follow-ups that come late, twice
// and in any order, units are conserved after every commit; and when all
// follow-ups are given, every unit of a transfer that is over has arrived, is
// back, or was written off.
func Test_transfers_conserve_units(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, "b1", "b2")
		branch := rapid.SampledFrom([]string{"b1", "b2"})
		destination := rapid.SampledFrom([]string{"b2", "b1", "b2", "b1", "b2", "b1", "b9"})
		productID := rapid.SampledFrom([]string{"p0", "p1", "p0", "p1", "p2"})
		quantity := rapid.Int64Range(1, 4)
		var transfers []TransferDispatched
		var given []Command // follow-ups, to be given again
		for range rapid.IntRange(20, 50).Draw(t, "steps") {
			c := Command{BranchID: branch.Draw(t, "branch")}
			var sent TransferDispatched
			if len(transfers) > 0 {
				sent = transfers[rapid.IntRange(0, len(transfers)-1).Draw(t, "transfer")]
			}
			step := rapid.SampledFrom([]string{
				"dispatch", "settle", "receive", "cancel", "settle", "dispatch", "receive", "settle", "again", "crash", "receive all", "adjust", "status", "delete", "dispatch",
			}).Draw(t, "step")
			switch {
			case step == "settle":
				if ids := w.pendingIDs(); len(ids) > 0 {
					id := rapid.SampledFrom(ids).Draw(t, "follow-up")
					given = append(given, w.pending[id])
					w.settle(id)
					seen[given[len(given)-1].Type]++
				}
				w.check()
				continue
			case step == "again": // to the log, and past it
				if len(given) > 0 {
					again(t, w, rapid.SampledFrom(given).Draw(t, "follow-up"))
				}
				continue
			case step == "crash": // states are read from the log again
				reload(t, w)
				continue
			case step == "dispatch":
				body := DispatchTransfer{ToBranchID: destination.Draw(t, "to")}
				for range rapid.IntRange(1, 3).Draw(t, "lines") {
					body.Lines = append(body.Lines, TransferLine{productID.Draw(t, "product"), quantity.Draw(t, "quantity")})
				}
				if body.ToBranchID == c.BranchID {
					continue
				}
				c.Type, c.Body = CommandDispatchTransfer, body
			case step == "adjust":
				c.Type, c.Body = CommandAdjustStock, AdjustStock{ProductID: productID.Draw(t, "product"), Delta: rapid.Int64Range(-4, 9).Draw(t, "delta"), Reason: "because"}
			case step == "status":
				c.Type, c.Body = CommandChangeBranch, ChangeBranch{Status: ptr(rapid.SampledFrom([]string{BranchOpen, BranchOpen, BranchClosed}).Draw(t, "status"))}
			case step == "delete":
				if !rapid.Bool().Draw(t, "really") {
					continue
				}
				c.Type, c.Body = CommandDeleteProduct, DeleteProduct{ProductID: productID.Draw(t, "product")}
			case sent.TransferID == "":
				continue
			case step == "cancel":
				c.Type, c.BranchID, c.Body = CommandCancelTransfer, sent.FromBranchID, CancelTransfer{TransferID: sent.TransferID}
			case step == "receive all":
				c.Type, c.BranchID, c.Body = CommandReceiveTransfer, sent.ToBranchID, ReceiveTransfer{TransferID: sent.TransferID}
			default:
				lines := []ReceivedLine{{productID.Draw(t, "product"), quantity.Draw(t, "received") - 1, quantity.Draw(t, "damaged") - 1}}
				c.Type, c.BranchID, c.Body = CommandReceiveTransfer, sent.ToBranchID, ReceiveTransfer{TransferID: sent.TransferID, Lines: &lines}
			}
			made, r := w.submit(c)
			if r != nil {
				seen[c.Type+" "+r.Code]++
				continue
			}
			seen[c.Type]++
			if c.Type == CommandDispatchTransfer {
				p, _ := payloadOf[TransferDispatched](&made.Events[0])
				transfers = append(transfers, p)
			}
			w.check()
		}
		for len(w.pending) > 0 {
			w.settle(w.pendingIDs()[0])
			w.check()
		}
		waiting := int64(0)
		for _, sent := range transfers {
			receiver := w.state(StreamOfBranch(sent.ToBranchID)).Transfers[sent.TransferID]
			sender := w.state(StreamOfBranch(sent.FromBranchID)).Transfers[sent.TransferID]
			seen[receiver.Status]++
			back := receiver.Status == TransferStateCancelled || receiver.Status == TransferStateRefused
			if back != (sender.Status == TransferStateReturned) {
				t.Fatalf("transfer is %s at the receiver, %s at the sender", receiver.Status, sender.Status)
			}
			for _, l := range receiver.inTransit() {
				waiting += l.Quantity
			}
		}
		if got := w.check(); got != waiting {
			t.Fatalf("%d units in transit, transfers that are not over have %d", got, waiting)
		}
	})
	for _, what := range []string{
		CommandDispatchTransfer, CommandReceiveTransfer, CommandCancelTransfer, CommandAnnounceTransfer, CommandReturnTransfer,
		TransferStateReceived, TransferStateCancelled, TransferStateRefused, TransferStateInTransit,
		CommandReceiveTransfer + " " + CodeTransferState, CommandCancelTransfer + " " + CodeTransferState,
	} {
		t.Logf("%d %s", seen[what], what)
		if seen[what] == 0 {
			t.Errorf("%d %s in all histories: they prove little, draw others", seen[what], what)
		}
	}
}

// again gives a follow-up that was given: the log has its id, and even without
// that it would change nothing.
func again(t *rapid.T, w *world, c Command) {
	length := len(w.log)
	if _, r := w.submit(c); r != nil || len(w.log) != length {
		t.Fatalf("%s again: %v, %d commits more", c.ID, r, len(w.log)-length)
	}
	stream, err := StreamOf(c)
	if err != nil {
		t.Fatal(err)
	}
	if d, r := w.state(stream).Decide(c); r != nil || len(d.Events) > 0 {
		t.Fatalf("%s past the log: %v %+v, want no events", c.ID, r, d)
	}
}

// reload loses all that is in memory and reads it from the log: states, and
// the follow-ups that no commit has settled (invariant 6).
func reload(t *rapid.T, w *world) {
	lost := &world{t: t, branches: map[string]*Branch{}, pending: map[string]Command{}}
	for _, c := range w.log {
		if c.UserID == "" {
			delete(lost.pending, c.CommandID)
		}
		for i := range c.Events {
			if err := lost.state(c.Stream).Evolve(&c.Events[i]); err != nil {
				t.Fatal(err)
			}
			follow, err := FollowUps(&c.Events[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range follow {
				lost.pending[f.ID] = f
			}
		}
	}
	if !reflect.DeepEqual(lost.pending, w.pending) {
		t.Fatalf("pending after a restart %+v, before %+v", lost.pending, w.pending)
	}
	for stream, b := range lost.branches {
		if got, want := mustMarshal(t, b), mustMarshal(t, w.branches[stream]); string(got) != string(want) {
			t.Fatalf("%s after a restart\n     %s\nwant %s", stream, got, want)
		}
	}
	w.branches, w.pending = lost.branches, lost.pending
}
