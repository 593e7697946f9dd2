package commandbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"bms/domain"
)

type (
	reply  = func(*domain.Commit, error)
	submit = func(domain.Command, reply)
)

// startBus starts a bus whose commands submit decides; the end of the test
// closes it.
func startBus(t testing.TB, s submit, configure func(*Config)) *Bus {
	t.Helper()
	cfg := Config{Submit: s, Logger: slog.New(slog.DiscardHandler)}
	if configure != nil {
		configure(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- b.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.Close(ctx)
		if err := <-ran; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return b
}

// accept answers every command with a commit that names it.
func accept(cmd domain.Command, answer reply) {
	answer(&domain.Commit{CommandID: cmd.ID, Metadata: cmd.Metadata}, nil)
}

func adjustment(id string) domain.Command {
	return domain.Command{
		ID: id, Type: domain.CommandAdjustStock, BranchID: "b1",
		Identity: domain.Identity{UserID: "u1", Role: domain.RoleStaff, Branches: []string{"b1", "b2"}},
		At:       time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC), Fingerprint: "f",
		Body: domain.AdjustStock{ProductID: "p1", Delta: -3, Reason: "broken <&> \u2028"},
	}
}

func Test_new_names_the_field_that_is_wrong(t *testing.T) {
	local := NewLocal(0)
	for field, cfg := range map[string]Config{
		"Submit":     {Logger: slog.New(slog.DiscardHandler)},
		"Logger":     {Submit: accept},
		"Subscriber": {Submit: accept, Logger: slog.New(slog.DiscardHandler), Publisher: local},
		"Timeout":    {Submit: accept, Logger: slog.New(slog.DiscardHandler), Timeout: -1},
		"Pending":    {Submit: accept, Logger: slog.New(slog.DiscardHandler), Pending: -1},
		"Bytes":      {Submit: accept, Logger: slog.New(slog.DiscardHandler), Bytes: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v, want one that names %s", err, field)
		}
	}
}

func Test_a_command_arrives_as_it_was_sent(t *testing.T) {
	yes, none, version := true, []string{}, int64(1<<62)
	for _, body := range []any{
		domain.OpenBranch{BranchID: "b9", Name: "Öl & <Söhne>"},
		domain.ChangeBranch{Name: new("")},
		domain.CreateProduct{SKU: "s", Name: "n", PriceMinor: 1<<63 - 1, Currency: "EUR"},
		domain.ChangeProduct{ProductID: "p", Stock: new(int64), ExpectedVersion: &version},
		domain.DeleteProduct{ProductID: "p"},
		domain.CountStock{ProductID: "p", Counted: 0},
		domain.AdjustStock{ProductID: "p", Delta: -1 << 63},
		domain.CreateTransaction{Kind: "sale", Lines: []domain.TransactionLine{{ProductID: "p", Quantity: 2, UnitPriceMinor: new(int64)}}},
		domain.CreateTransaction{}, // lines nil
		domain.SetTransactionStatus{TransactionID: "t", Lines: []domain.RefundRequestLine{{ProductID: "p", Restock: &yes}}},
		domain.SetUser{UserID: "u"}, // branches nil
		domain.ChangeUser{UserID: "u", Branches: &none},
		domain.SendNotification{Audience: "branch:b1", Message: "\x00\t\u2028 \U0001F600"},
		domain.AckNotifications{Pos: "x"},
		domain.AdjustStockBulk{Mode: domain.BulkPerLine, Lines: []domain.BulkAdjustment{{ProductID: "p", Delta: -1 << 63}, {}}},
		domain.DispatchTransfer{ToBranchID: "b2", Lines: []domain.TransferLine{{ProductID: "p", Quantity: 1<<63 - 1}}},
		domain.ReceiveTransfer{TransferID: "t"}, // all
		domain.ReceiveTransfer{TransferID: "t", Lines: &[]domain.ReceivedLine{}},
		domain.ReceiveTransfer{TransferID: "t", Lines: &[]domain.ReceivedLine{{ProductID: "p", Damaged: 1}}},
		domain.CancelTransfer{TransferID: "t"},
		domain.AnnounceTransfer{TransferID: "t", FromBranchID: "b2", Lines: []domain.TransferLine{{ProductID: "p", Quantity: 1}}},
		domain.ReturnTransfer{TransferID: "t", Lines: []domain.TransferLine{{ProductID: "p", Quantity: 1}}},
		domain.SubmitSync{DeviceID: "d", FromSeq: domain.MaxSeq, Operations: []domain.SyncOperation{{Seq: 1, Lines: []domain.TransactionLine{{ProductID: "p", Quantity: 1}}}, {}}},
	} {
		cmd := domain.Command{
			ID: "id/with everything", Keyed: true, Type: commandTypeOf(t, body), BranchID: "b1",
			Identity: domain.Identity{
				UserID: "u1", Role: domain.RoleManager, Branches: []string{"a", "b"}, Name: "Zoë, \"the\" boss", DeviceID: "d1", Disabled: true,
			},
			At: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC), Fingerprint: "f", Body: body,
			Metadata: map[string]string{"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00", "tracestate": "a=b", "edge": "till 4"},
		}
		msg, err := encode("uuid", &cmd)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(msg)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Size = len(msg.Payload)
		if !reflect.DeepEqual(got, cmd) {
			t.Errorf("got  %+v\nwant %+v", got, cmd)
		}
	}
}

// The system has no user id, and only its role tells it from nobody.
func Test_the_system_arrives_as_such(t *testing.T) {
	msg, err := encode("uuid", &domain.Command{ID: "c", Type: domain.CommandCancelTransfer, Identity: domain.SystemIdentity(), Body: domain.CancelTransfer{TransferID: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(msg)
	if err != nil || !reflect.DeepEqual(got.Identity, domain.SystemIdentity()) {
		t.Errorf("identity %+v, %v; want %+v", got.Identity, err, domain.SystemIdentity())
	}
}

func commandTypeOf(t *testing.T, body any) string {
	t.Helper()
	for _, commandType := range []string{
		domain.CommandOpenBranch, domain.CommandChangeBranch, domain.CommandCreateProduct, domain.CommandChangeProduct,
		domain.CommandDeleteProduct, domain.CommandCountStock, domain.CommandAdjustStock, domain.CommandCreateTransaction,
		domain.CommandSetTransactionStatus, domain.CommandSetUser, domain.CommandChangeUser, domain.CommandSendNotification,
		domain.CommandAckNotifications, domain.CommandAdjustStockBulk, domain.CommandDispatchTransfer, domain.CommandReceiveTransfer,
		domain.CommandCancelTransfer, domain.CommandAnnounceTransfer, domain.CommandReturnTransfer, domain.CommandSubmitSync,
	} {
		if reflect.TypeOf(domain.NewBody(commandType)) == reflect.TypeOf(body) {
			return commandType
		}
	}
	t.Fatalf("no command has a body of %T", body)
	return ""
}

func Test_the_answer_comes_back(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := domain.Reject(domain.CodeInsufficientStock, "no")
		fault := errors.New("disk")
		b := startBus(t, func(cmd domain.Command, answer reply) {
			switch cmd.ID {
			case "no":
				answer(nil, no)
			case "fault":
				answer(nil, fault)
			case "later":
				go func() {
					<-time.After(time.Second)
					accept(cmd, answer)
				}()
			default:
				accept(cmd, answer)
			}
		}, nil)
		for _, id := range []string{"yes", "later"} {
			if commit, err := b.Do(t.Context(), adjustment(id)); err != nil || commit.CommandID != id {
				t.Errorf("%s: %v, %v, want its commit", id, commit, err)
			}
		}
		if _, err := b.Do(t.Context(), adjustment("no")); !errors.Is(err, no) {
			t.Errorf("got %v, want the rejection itself", err)
		}
		if _, err := b.Do(t.Context(), adjustment("fault")); !errors.Is(err, fault) {
			t.Errorf("got %v, want the fault", err)
		}
		if got := b.Pending(); got != 0 {
			t.Errorf("%d pending, want 0", got)
		}
	})
}

func Test_commands_of_one_goroutine_are_handed_on_in_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const publishers, each = 4, 3000
		next := map[string]int{}
		var answers sync.WaitGroup
		b := startBus(t, func(cmd domain.Command, answer reply) {
			if got, want := cmd.ID, strconv.Itoa(next[cmd.BranchID]); got != want {
				t.Errorf("command %s of %s, want %s", got, cmd.BranchID, want)
			}
			next[cmd.BranchID]++
			answers.Go(func() { accept(cmd, answer) })
		}, nil)
		var all sync.WaitGroup
		for p := range publishers {
			all.Go(func() {
				for i := range each {
					cmd := adjustment(strconv.Itoa(i))
					cmd.BranchID = fmt.Sprintf("b%d", p)
					msg, err := encode("", &cmd) // fire and forget: nobody waits
					if err != nil {
						t.Error(err)
						return
					}
					if err := b.cfg.Publisher.Publish(b.cfg.Topic, msg); err != nil {
						t.Error(err)
						return
					}
				}
				cmd := adjustment(strconv.Itoa(each))
				cmd.BranchID = fmt.Sprintf("b%d", p)
				if _, err := b.Do(t.Context(), cmd); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		answers.Wait()
		for branch, n := range next {
			if n != each+1 {
				t.Errorf("%d commands of %s, want %d", n, branch, each+1)
			}
		}
	})
}

func Test_commands_that_are_begun_before_an_answer_are_in_order(t *testing.T) {
	const count = 100
	var (
		mu  sync.Mutex
		got []string
	)
	answers := make(chan func(), count)
	b := startBus(t, func(cmd domain.Command, answer reply) {
		mu.Lock()
		got = append(got, cmd.ID)
		mu.Unlock()
		answers <- func() { accept(cmd, answer) }
	}, nil)
	var pending []*Pending
	var want []string
	for i := range count {
		id := strconv.Itoa(i)
		p, err := b.Begin(t.Context(), adjustment(id))
		if err != nil {
			t.Fatal(err)
		}
		pending, want = append(pending, p), append(want, id)
	}
	for range count {
		(<-answers)()
	}
	for i, p := range pending {
		commit, err := p.Wait(t.Context())
		if err != nil || commit.CommandID != want[i] {
			t.Errorf("command %d: %+v, %v, want its own commit", i, commit, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("handed on in the order %v, want %v", got, want)
	}
	if n := b.Pending(); n != 0 {
		t.Errorf("%d pending, want none", n)
	}
}

func Test_no_answer_in_time_is_an_unknown_outcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replies := make(chan reply, 1)
		b := startBus(t, func(_ domain.Command, r reply) { replies <- r }, func(c *Config) { c.Timeout = time.Minute })
		deadline, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, tt := range []struct {
			ctx  context.Context
			want time.Duration
		}{{deadline, time.Second}, {t.Context(), time.Minute}} {
			start := time.Now()
			_, err := b.Do(tt.ctx, adjustment("1"))
			if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want an unknown outcome by deadline", err)
			}
			var no *domain.Rejection
			if !errors.As(err, &no) || no.Code != domain.CodeLogUnavailable || no.Details["retryAfter"] == nil {
				t.Errorf("error %v, want a log_unavailable in it with retryAfter", err)
			}
			if got := time.Since(start); got != tt.want {
				t.Errorf("after %v, want %v", got, tt.want)
			}
			if got := b.Pending(); got != 0 {
				t.Errorf("%d pending, want 0", got)
			}
			answer := <-replies
			answer(&domain.Commit{}, nil) // too late: dropped
			answer(&domain.Commit{}, nil) // twice: dropped
		}
	})
}

func Test_an_answer_at_the_very_end_is_never_anothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBus(t, func(cmd domain.Command, answer reply) {
			go func() {
				<-time.After(time.Second)
				accept(cmd, answer)
			}()
		}, nil)
		var all sync.WaitGroup
		for c := range 8 {
			all.Go(func() {
				for i := range 500 {
					id := fmt.Sprintf("%d-%d", c, i)
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					commit, err := b.Do(ctx, adjustment(id))
					cancel()
					if err == nil && commit.CommandID != id || err != nil && !errors.Is(err, ErrOutcomeUnknown) {
						t.Errorf("%s: %v, %v, want its commit or an unknown outcome", id, commit, err)
					}
				}
			})
		}
		all.Wait()
		if got := b.Pending(); got != 0 {
			t.Errorf("%d pending, want 0", got)
		}
	})
}

func Test_the_bounds_on_waiting_commands(t *testing.T) {
	msg, err := encode("uuid", new(adjustment("1")))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		bound func(*Config)
		taken int
	}{
		"commands":           {func(c *Config) { c.Pending = 2 }, 2},
		"bytes":              {func(c *Config) { c.Bytes = 3*len(msg.Payload) - 1 }, 2},
		"bytes_of_one_alone": {func(c *Config) { c.Bytes = 1 }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answers := make(chan reply, tt.taken)
				b := startBus(t, func(_ domain.Command, r reply) { answers <- r }, tt.bound)
				for range 2 { // again when those are answered
					var all sync.WaitGroup
					for range tt.taken {
						all.Go(func() {
							if _, err := b.Do(t.Context(), adjustment("1")); err != nil {
								t.Error(err)
							}
						})
					}
					synctest.Wait()
					_, err := b.Do(t.Context(), adjustment("2"))
					if no, ok := asRejection(err); !ok || no.Code != domain.CodeBusy || no.Details["retryAfter"] == nil {
						t.Errorf("error %v, want busy with retryAfter", err)
					}
					for range tt.taken {
						(<-answers)(&domain.Commit{}, nil)
					}
					all.Wait()
				}
			})
		})
	}
}

func Test_what_cannot_be_handed_on_is_answered_and_does_not_stop_the_rest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		b := startBus(t, func(cmd domain.Command, answer reply) {
			if cmd.ID == "bad" {
				panic("poisoned")
			}
			accept(cmd, answer)
		}, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
		for range 5 {
			if _, err := b.Do(t.Context(), adjustment("bad")); err == nil || !strings.Contains(err.Error(), "poisoned") {
				t.Errorf("error %v, want the panic's", err)
			}
		}
		unknown := adjustment("1")
		unknown.Type = "stock.conjure"
		if _, err := b.Do(t.Context(), unknown); err == nil {
			t.Error("an unknown command was accepted")
		}
		unwritable := adjustment("1")
		unwritable.Body = func() {}
		if _, err := b.Do(t.Context(), unwritable); err == nil {
			t.Error("a body that is not JSON was accepted")
		}
		newer := message.NewMessage("", message.Payload(`{"productId":"p1","delta":1,"reason":"r","approvedBy":"u2"}`))
		newer.Metadata = message.Metadata{metaType: domain.CommandAdjustStock, metaAt: "2026-03-01T12:00:00Z"}
		if cmd, err := decode(newer); err == nil {
			t.Errorf("decoded %+v, want an error for a field that is not known", cmd)
		}
		if _, err := b.Do(t.Context(), adjustment("good")); err != nil {
			t.Error(err)
		}
		if !strings.Contains(logged.String(), "panic") || strings.Contains(logged.String(), "broken") {
			t.Errorf("log %q, want the panic and no payload", logged.String())
		}
	})
}

func Test_close_lets_what_is_under_way_finish_and_takes_no_more(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer reply
		b := startBus(t, func(_ domain.Command, r reply) { answer = r }, nil)
		got := make(chan error, 1)
		go func() {
			_, err := b.Do(t.Context(), adjustment("1"))
			got <- err
		}()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- b.Close(t.Context()) }()
		synctest.Wait()
		_, err := b.Do(t.Context(), adjustment("2"))
		if no, ok := asRejection(err); !ok || no.Code != domain.CodeDraining {
			t.Errorf("error %v, want draining", err)
		}
		select {
		case err := <-closed:
			t.Errorf("closed (%v) with a command under way", err)
		default:
		}
		answer(&domain.Commit{}, nil)
		if err := <-got; err != nil {
			t.Error(err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func Test_close_gives_up_when_its_context_ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBus(t, func(domain.Command, reply) {}, func(c *Config) { c.Timeout = time.Hour })
		got := make(chan error, 1)
		go func() {
			_, err := b.Do(t.Context(), adjustment("1"))
			got <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v, want the deadline's error", err)
		}
		start := time.Now()
		if err := <-got; !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, ErrClosed) {
			t.Errorf("error %v, want an unknown outcome by close", err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("answered %v after close, want at once", waited)
		}
	})
}

// A node that is told to stop as it starts has nothing to complain of.
func Test_run_after_close_has_nothing_to_do(t *testing.T) {
	b, err := New(Config{Submit: accept, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err != nil {
		t.Errorf("run: %v, want nil", err)
	}
}

func Test_run_tells_when_its_subscription_ends_by_itself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local := NewLocal(0)
		b, err := New(Config{Publisher: local, Subscriber: local, Submit: accept, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- b.Run(t.Context()) }()
		synctest.Wait()
		if err := local.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ran; err == nil {
			t.Error("run ended without an error")
		}
		if _, err := b.Do(t.Context(), adjustment("1")); !errors.Is(err, ErrLocalClosed) {
			t.Errorf("error %v, want ErrLocalClosed", err)
		}
		if err := b.Run(t.Context()); !errors.Is(err, ErrLocalClosed) {
			t.Errorf("run: %v, want ErrLocalClosed", err)
		}
	})
}
