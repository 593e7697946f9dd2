package projections

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"bms/domain"
	"bms/transport/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestReadModelsAgreeWithTheStateThatDecided(t *testing.T) {
	for seed := range uint64(8) {
		shop := newShop(t)
		shop.trade(rand.New(rand.NewPCG(seed, 1)), 800)
		r := run(t, config(t.TempDir(), shop.log))
		r.settle(shop.log)
		for stream, state := range shop.states {
			branch, ok := state.(*domain.Branch)
			if !ok {
				continue
			}
			agrees(t, r, stream, branch)
		}
	}
}

func agrees(t *testing.T, r *running, stream string, branch *domain.Branch) {
	t.Helper()
	ctx := context.Background()
	loaded, version, err := r.LoadBranch(ctx, stream)
	if err != nil {
		t.Fatalf("load %s: %v", stream, err)
	}
	var rows []domain.Row
	for _, id := range slices.Sorted(maps.Keys(branch.Transactions)) {
		rows = append(rows, domain.Row{Kind: domain.RowTransaction, ID: id})
	}
	for _, id := range slices.Sorted(maps.Keys(branch.Transfers)) {
		rows = append(rows, domain.Row{Kind: domain.RowTransfer, ID: id})
	}
	for _, id := range slices.Sorted(maps.Keys(branch.Devices)) {
		rows = append(rows, domain.Row{Kind: "device", ID: id})
	}
	rows = append(rows, domain.Row{Kind: domain.RowTransaction, ID: "there is none"})
	states, at, err := r.LoadRows(ctx, stream, rows)
	if err != nil || at != version || states[len(rows)-1] != nil {
		t.Fatalf("rows of %s at version %d, %v; want them at %d", stream, at, err, version)
	}
	for i, row := range rows {
		if err := loaded.(*domain.Branch).PutRow(row, states[i]); err != nil {
			t.Fatal(err)
		}
	}
	got, err := domain.MarshalState(loaded)
	if err != nil {
		t.Fatal(err)
	}
	want, err := domain.MarshalState(branch)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Fatalf("state of %s\n got %s\nwant %s", stream, got, want)
	}
	log := r.config.Log.(interface{ Version(stream string) uint64 })
	if want := log.Version(stream); version != want {
		t.Fatalf("version of %s is %d, want %d", stream, version, want)
	}
	if branch.Status != "" && (len(branch.Transfers) == 0 || len(branch.Devices) == 0) {
		t.Errorf("%s has %d transfers and %d devices: the history is too poor", stream, len(branch.Transfers), len(branch.Devices))
	}
	low := map[string]bool{}
	for id, want := range branch.Products {
		got, _, err := r.Product(ctx, branch.ID, id)
		if err != nil {
			t.Fatalf("product %s: %v", id, err)
		}
		if got.Product != want.Product || got.Deleted != want.Deleted {
			t.Fatalf("product %s of %s is %+v, want %+v", id, branch.ID, got, want)
		}
		if !want.Deleted && want.Stock <= want.MinStock {
			low[id] = true
		}
		ledger, err := r.Ledger(ctx, LedgerQuery{BranchID: branch.ID, ProductID: id, Limit: MaxLimit})
		if err != nil {
			t.Fatalf("ledger of %s: %v", id, err)
		}
		sum := int64(0)
		for _, e := range ledger.Items {
			sum += e.Delta
		}
		if sum != want.Stock {
			t.Fatalf("deltas of %s sum up to %d, want the stock %d (invariant 8)", id, sum, want.Stock)
		}
	}
	levels, err := r.Levels(ctx, LevelsQuery{BranchID: branch.ID, LowStock: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(levels.Items) != len(low) {
		t.Fatalf("%d products are low in %s, want %d", len(levels.Items), branch.ID, len(low))
	}
	for id, want := range branch.Transactions {
		got, _, err := r.Transaction(ctx, branch.ID, id)
		if err != nil {
			t.Fatalf("transaction %s: %v", id, err)
		}
		if got.Status != want.Status || got.RefundedMinor != want.RefundedMinor || got.TotalMinor != want.TotalMinor || len(got.Lines) != len(want.Lines) {
			t.Fatalf("transaction %s is %+v, want %+v", id, got, want)
		}
	}
	agreesStats(t, r, branch)
}

// agreesStats compares the buckets' sums with what the transactions say.
func agreesStats(t *testing.T, r *running, branch *domain.Branch) {
	t.Helper()
	type sums struct{ sales, units, revenue int64 }
	want, got := map[string]sums{}, map[string]sums{}
	for _, tx := range branch.Transactions {
		if tx.Kind != domain.KindSale {
			continue
		}
		s := want[tx.Currency]
		switch tx.Status {
		case domain.StatusCompleted, domain.StatusPartiallyRefunded, domain.StatusRefunded:
			s.sales++
			s.revenue += tx.TotalMinor - tx.RefundedMinor
			for _, l := range tx.Lines {
				s.units += l.Quantity - l.Refunded
			}
			want[tx.Currency] = s
		}
	}
	value := map[string]int64{}
	for _, p := range branch.Products {
		if !p.Deleted {
			value[p.Currency] += max(p.Stock, 0) * p.PriceMinor
		}
	}
	for _, bucket := range []string{BucketHour, BucketDay} {
		clear(got)
		stats, err := r.BranchStats(context.Background(), StatsQuery{BranchID: branch.ID, Bucket: bucket})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range stats.Items {
			s := got[item.Currency]
			s.sales, s.units, s.revenue = s.sales+item.Sales, s.units+item.Units, s.revenue+item.RevenueMinor
			got[item.Currency] = s
		}
		maps.DeleteFunc(got, func(_ string, s sums) bool { return s == sums{} })
		if !maps.Equal(got, want) {
			t.Fatalf("sales of %s by %s are %v, want %v", branch.ID, bucket, got, want)
		}
		for _, m := range stats.StockValue {
			if m.Minor != value[m.Currency] {
				t.Fatalf("stock of %s is worth %d %s, want %d", branch.ID, m.Minor, m.Currency, value[m.Currency])
			}
		}
	}
}

// Invariant 6.
func TestReplayGivesTheSameRowsHoweverItIsBatched(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(7, 7)), 1500)
	first := run(t, config(t.TempDir(), shop.log))
	first.settle(shop.log)
	want := first.digests()
	first.close()
	log := shop.log.Reread()

	t.Run("one_commit_at_a_time", func(t *testing.T) {
		c := config(t.TempDir(), log)
		c.Log = reader{log, 1}
		r := run(t, c)
		r.wait(log.Head())
		compare(t, r.digests(), want)
	})
	t.Run("with_restarts_in_between", func(t *testing.T) {
		dir := t.TempDir()
		commits := log.All()
		for at := 0; at < len(commits); at += 170 {
			c := config(dir, log)
			c.Log = reader{log, 13}
			r := run(t, c)
			if err := r.WaitFor(t.Context(), Inventory, commits[at].Position); err != nil {
				t.Fatal(err)
			}
			r.close()
		}
		r := run(t, config(dir, log))
		r.wait(log.Head())
		compare(t, r.digests(), want)
	})
	if got, want := len(log.All()), len(shop.log.All()); got != want {
		t.Fatalf("the log has %d commits after all the replays, want %d: a replay emitted", got, want)
	}
}

func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, digest := range want {
		if got[name] != digest {
			t.Errorf("digest of %s is %s, want %s", name, got[name], digest)
		}
	}
}

func TestUnknownProjection(t *testing.T) {
	shop := newShop(t)
	r := run(t, config(t.TempDir(), shop.log))
	if err := r.WaitFor(t.Context(), "nonsense", domain.Position{}); !errors.Is(err, ErrUnknownProjection) {
		t.Errorf("wait: %v, want ErrUnknownProjection", err)
	}
	if _, _, err := r.Digest(t.Context(), "nonsense"); !errors.Is(err, ErrUnknownProjection) {
		t.Errorf("digest: %v, want ErrUnknownProjection", err)
	}
}
