package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
)

// demo opens two shops and lets tills sell in them: customers come, shelves
// run low, deliveries arrive. Everything goes through the command bus like
// anybody's commands.
type demo struct {
	do     func(context.Context, domain.Command) (*domain.Commit, error)
	logger *slog.Logger
	now    func() time.Time
	// run tells the command ids of this run from those of earlier ones.
	run string
	// pause is the mean time between two customers of a till. Zero value
	// means 4 seconds.
	pause time.Duration
}

const tillsPerBranch = 2

// demoUser acts for the demo; the log shows its name.
var demoUser = domain.Identity{UserID: "demo", Role: domain.RoleAdmin, Name: "Demo"}

// Run opens the shops if they are not open yet and sells until the context
// ends, which is not an error. It returns other errors for a fault of the
// node; a rejected sale is life.
func (d *demo) Run(ctx context.Context) error {
	if err := d.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("open the demo shops: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, branch := range demoBranches {
		for till := range tillsPerBranch {
			g.Go(func() error { return d.sell(ctx, branch.BranchID, fmt.Sprintf("till-%d", till+1)) })
		}
	}
	return g.Wait()
}

// open opens branches and products. The command ids are fixed, so on a data
// folder that has them nothing happens.
func (d *demo) open(ctx context.Context) error {
	for _, branch := range demoBranches {
		if err := d.once(ctx, "demo-open-"+branch.BranchID, domain.CommandOpenBranch, branch.BranchID, branch); err != nil {
			return err
		}
		for _, p := range demoRange {
			err := d.once(ctx, "demo-product-"+branch.BranchID+"-"+p.id, domain.CommandCreateProduct, branch.BranchID, domain.CreateProduct{
				ProductID: p.id, SKU: p.sku, Name: p.name, PriceMinor: p.priceMinor, Currency: demoCurrency,
				Stock: new(p.stock), MinStock: p.min,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// once does a command of a fixed id. Who has a branch or product of that id,
// or changed it since, keeps it.
func (d *demo) once(ctx context.Context, id, commandType, branchID string, body any) error {
	_, err := d.command(ctx, id, commandType, branchID, body)
	if rejection, ok := errors.AsType[*domain.Rejection](err); ok {
		d.logger.Debug("demo shop is there already", "command", id, "code", rejection.Code)
		return nil
	}
	return err
}

// sell is one till: a customer every now and then, some of whom bring something
// back, and a delivery when what was sold leaves too little.
func (d *demo) sell(ctx context.Context, branchID, till string) error {
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	mean := d.pause
	if mean <= 0 {
		mean = 4 * time.Second
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		timer.Reset(mean/2 + time.Duration(random.Int64N(int64(mean))))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		id := d.run + "-" + branchID + "-" + till + "-" + strconv.Itoa(n)
		sale := domain.CreateTransaction{Kind: "sale", Status: "completed", DeviceID: till, Lines: basket(random)}
		commit, err := d.command(ctx, id, domain.CommandCreateTransaction, branchID, sale)
		var delivery []domain.TransactionLine
		switch rejection, rejected := errors.AsType[*domain.Rejection](err); {
		case ctx.Err() != nil:
			return nil
		case rejected && rejection.Code == domain.CodeInsufficientStock:
			delivery = sale.Lines
		case rejected:
			continue // busy, or somebody closed the shop
		case err != nil:
			return fmt.Errorf("sell at %s of %s: %w", till, branchID, err)
		default:
			delivery = emptyShelves(commit)
			if random.IntN(10) == 0 {
				if err := d.refund(ctx, id+"-refund", branchID, commit); err != nil {
					return err
				}
			}
		}
		if err := d.restock(ctx, id+"-delivery", branchID, delivery); err != nil {
			return err
		}
	}
}

// refund takes one unit of a sale's first line back.
func (d *demo) refund(ctx context.Context, id, branchID string, sale *domain.Commit) error {
	for i := range sale.Events {
		payload, err := sale.Events[i].Payload()
		if err != nil {
			continue
		}
		sold, ok := payload.(domain.TransactionCreated)
		if !ok {
			continue
		}
		_, err = d.command(ctx, id, domain.CommandSetTransactionStatus, branchID, domain.SetTransactionStatus{
			TransactionID: sold.TransactionID, Status: domain.StatusPartiallyRefunded, Reason: "returned",
			Lines: []domain.RefundRequestLine{{ProductID: sold.Lines[0].ProductID, Quantity: 1}},
		})
		if _, rejected := errors.AsType[*domain.Rejection](err); err != nil && !rejected && ctx.Err() == nil {
			return fmt.Errorf("refund in %s: %w", branchID, err)
		}
	}
	return nil
}

// restock receives a delivery of the products on the given lines, each as
// much as the shop had on its first day.
func (d *demo) restock(ctx context.Context, id, branchID string, lines []domain.TransactionLine) error {
	if len(lines) == 0 {
		return nil
	}
	purchase := domain.CreateTransaction{Kind: "purchase", Status: "completed"}
	for _, line := range lines {
		purchase.Lines = append(purchase.Lines, domain.TransactionLine{ProductID: line.ProductID, Quantity: firstStock(line.ProductID)})
	}
	_, err := d.command(ctx, id, domain.CommandCreateTransaction, branchID, purchase)
	if _, rejected := errors.AsType[*domain.Rejection](err); err != nil && !rejected && ctx.Err() == nil {
		return fmt.Errorf("restock %s: %w", branchID, err)
	}
	return nil
}

func firstStock(productID string) int64 {
	for _, p := range demoRange {
		if p.id == productID {
			return p.stock
		}
	}
	return 1
}

// command gives a command. Its id stands for one body, so it needs no
// fingerprint; sent again under its id, it has no second effect.
func (d *demo) command(ctx context.Context, id, commandType, branchID string, body any) (*domain.Commit, error) {
	return d.do(ctx, domain.Command{
		ID: id, Keyed: true, Type: commandType, BranchID: branchID, Identity: demoUser, At: d.now(), Body: body,
	})
}

// basket is what a customer buys: up to four articles, the popular ones more
// often.
func basket(random *rand.Rand) []domain.TransactionLine {
	total := 0
	for _, p := range demoRange {
		total += p.popularity
	}
	var lines []domain.TransactionLine
	for range 1 + random.IntN(4) {
		ticket := random.IntN(total)
		for _, p := range demoRange {
			if ticket -= p.popularity; ticket >= 0 {
				continue
			}
			if !slices.ContainsFunc(lines, func(l domain.TransactionLine) bool { return l.ProductID == p.id }) {
				lines = append(lines, domain.TransactionLine{ProductID: p.id, Quantity: 1 + random.Int64N(3)})
			}
			break
		}
	}
	return lines
}

// emptyShelves lists what a sale left at half its minimum or less: enough
// customers have seen the gap, the next delivery brings it.
func emptyShelves(commit *domain.Commit) []domain.TransactionLine {
	var lines []domain.TransactionLine
	for i := range commit.Events {
		payload, err := commit.Events[i].Payload()
		if err != nil {
			continue
		}
		if u, ok := payload.(domain.InventoryUpdated); ok && u.Stock <= u.MinStock/2 {
			lines = append(lines, domain.TransactionLine{ProductID: u.ProductID})
		}
	}
	return lines
}
