package projections

import (
	"context"
	"fmt"
	"strings"

	"bms/domain"
)

// inventoryDefinition keeps the products with their stock, and the ledger:
// every change of it.
//
// The ledger's key is the product, by the position it was created at, and the
// position, so that a product's changes lie together. Its recorded time never falls within one
// product: it is the event's time, or the one before where clocks disagreed.
func inventoryDefinition() definition {
	return definition{
		name: Inventory, version: 1,
		schema: `
CREATE TABLE products (
	id INTEGER PRIMARY KEY, branch TEXT NOT NULL, product TEXT NOT NULL,
	sku TEXT NOT NULL, name TEXT NOT NULL, search TEXT NOT NULL,
	price INTEGER NOT NULL, currency TEXT NOT NULL,
	stock INTEGER NOT NULL, min_stock INTEGER NOT NULL, negative TEXT NOT NULL,
	version INTEGER NOT NULL, deleted INTEGER NOT NULL, recorded INTEGER NOT NULL,
	UNIQUE (branch, product)
);
CREATE INDEX products_low ON products (branch, product) WHERE stock <= min_stock AND deleted = 0;
CREATE TABLE ledger (
	product INTEGER NOT NULL, pos INTEGER NOT NULL,
	delta INTEGER NOT NULL, stock INTEGER NOT NULL, reason TEXT NOT NULL, ref TEXT, tx TEXT,
	recorded INTEGER NOT NULL, occurred TEXT,
	PRIMARY KEY (product, pos)
) WITHOUT ROWID;
`,
		types: []string{domain.TypeProductUpdated, domain.TypeInventoryUpdated, domain.TypeTransactionCreated},
		keys:  productKeys,
		start: func(f *file) (fold, error) {
			i := &inventory{file: f, occurred: map[string]string{}, ledger: newBulk(f.writer, "INSERT INTO ledger", 9)}
			i.products = newTable(i.load, i.store)
			return i, nil
		},
	}
}

// productKeys adds the products that a commit is about.
func productKeys(c *domain.Commit, add func(string)) {
	for i := range c.Events {
		if row := domain.Touched(&c.Events[i]); row.Kind == domain.RowProduct {
			add("product/" + c.Events[i].BranchID + "/" + row.ID)
		}
	}
}

// transactionKeys adds the transactions that a commit is about.
func transactionKeys(c *domain.Commit, add func(string)) {
	for i := range c.Events {
		if row := domain.Touched(&c.Events[i]); row.Kind == domain.RowTransaction {
			add("transaction/" + c.Events[i].BranchID + "/" + row.ID)
		}
	}
}

type inventory struct {
	basic
	file     *file
	products *table[productKey, productRow]
	ledger   *bulk
	// occurred are the times of the transactions that the commit at hand made.
	occurred map[string]string
}

// productKey names a product of a branch.
type productKey struct{ branch, product string }

type productRow struct {
	domain.Product
	id       int64
	branch   string
	deleted  bool
	recorded int64 // milliseconds
	stored   bool  // it is in the table
	renamed  bool  // more than the stock has changed
}

const productColumns = "id, sku, name, price, currency, stock, min_stock, negative, version, deleted, recorded, product"

func readProduct(r row) productRow {
	return productRow{
		Product: domain.Product{
			ProductID: r.text(11), SKU: r.text(1), Name: r.text(2), PriceMinor: r.int(3), Currency: r.text(4),
			Stock: r.int(5), MinStock: r.int(6), NegativeStock: r.text(7), Version: r.int(8),
		},
		id: r.int(0), deleted: r.bool(9), recorded: r.int(10), stored: true,
	}
}

func (i *inventory) load(k productKey) (productRow, bool, error) {
	var p productRow
	found, err := i.file.writer.one(context.Background(), func(r row) error {
		p = readProduct(r)
		return nil
	}, "SELECT "+productColumns+" FROM products WHERE branch = ? AND product = ?", k.branch, k.product)
	p.branch, p.ProductID = k.branch, k.product
	return p, found, err
}

func (i *inventory) store(p *productRow) error {
	w := i.file.writer
	if p.stored && !p.renamed { // as mostly, and numbers are cheap to bind
		return w.exec("UPDATE products SET stock = ?, min_stock = ?, version = ?, recorded = ? WHERE id = ?", p.Stock, p.MinStock, p.Version, p.recorded, p.id)
	}
	p.renamed = false
	if p.stored {
		return w.exec("UPDATE products SET sku = ?, name = ?, search = ?, price = ?, currency = ?, stock = ?, min_stock = ?, negative = ?, version = ?, deleted = ?, recorded = ? WHERE id = ?",
			p.SKU, p.Name, searchText(p.Product), p.PriceMinor, p.Currency, p.Stock, p.MinStock, p.NegativeStock, p.Version, flag(p.deleted), p.recorded, p.id)
	}
	p.stored = true
	return w.exec("INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		p.id, p.branch, p.ProductID, p.SKU, p.Name, searchText(p.Product), p.PriceMinor, p.Currency, p.Stock, p.MinStock, p.NegativeStock, p.Version, flag(p.deleted), p.recorded)
}

// searchText is what ProductsQuery.Q is looked for in.
func searchText(p domain.Product) string { return strings.ToLower(p.SKU + "\n" + p.Name) }

func (i *inventory) commit(*domain.Commit) error {
	clear(i.occurred)
	return nil
}

func (i *inventory) apply(c *domain.Commit, e *domain.Event, payload domain.Payload) error {
	switch p := payload.(type) {
	case domain.TransactionCreated:
		i.occurred[p.TransactionID] = p.OccurredAt
	case domain.ProductUpdated:
		return i.product(e, p)
	case domain.InventoryUpdated:
		return i.stock(e, p)
	}
	return nil
}

// product takes everything but the stock: that is the sum of the deltas and
// nothing else (invariant 8).
func (i *inventory) product(e *domain.Event, p domain.ProductUpdated) error {
	entry, err := i.products.get(productKey{e.BranchID, p.ProductID})
	if err != nil {
		return err
	}
	row := &entry.row
	if !entry.found {
		row.id = key(e.Pos)
	}
	stock := row.Stock
	row.Product = p.Product
	row.ProductID, row.Stock = p.ProductID, stock
	row.deleted, row.renamed = p.Action == domain.ActionDeleted, true
	i.products.put(entry)
	return nil
}

func (i *inventory) stock(e *domain.Event, p domain.InventoryUpdated) error {
	entry, err := i.products.get(productKey{e.BranchID, p.ProductID})
	if err != nil {
		return err
	}
	if !entry.found {
		return fmt.Errorf("event %s changes the stock of product %s in branch %s, which is not there", e.ID, p.ProductID, e.BranchID)
	}
	row := &entry.row
	if row.Stock+p.Delta != p.Stock {
		return fmt.Errorf("event %s leaves %d of product %s in branch %s: %d with %d is not that (invariant 8)", e.ID, p.Stock, p.ProductID, e.BranchID, row.Stock, p.Delta)
	}
	row.Stock, row.MinStock, row.Version = p.Stock, p.MinStock, p.Version
	row.recorded = max(row.recorded, e.At.UnixMilli())
	i.products.put(entry)
	var ref, tx, occurred any
	if p.Ref != "" {
		ref = p.Ref
	}
	if p.TransactionID != "" {
		tx = p.TransactionID
		if at, ok := i.occurred[p.TransactionID]; ok {
			occurred = at
		}
	}
	return i.ledger.add(row.id, key(e.Pos), p.Delta, p.Stock, p.Reason, ref, tx, row.recorded, occurred)
}

func (i *inventory) flush() error {
	if err := i.products.flush(); err != nil {
		return err
	}
	return i.ledger.flush()
}

func (i *inventory) forget() error {
	i.products.forget()
	i.ledger.forget()
	return nil
}
