package httpapi

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/projections"
)

// param is a query parameter, as it is documented and checked.
type param struct {
	name, about string
	schema      string // a name of paramSchemas
	enum        []any
	def         any
}

var (
	paramMinPos = param{name: "minPos", schema: "position", about: "Wait, for a few seconds, until the answer includes this position."}
	paramCursor = param{name: "cursor", schema: "text", about: "Go on where the page with this nextCursor ended."}
	paramLimit  = param{name: "limit", schema: "limit", about: "How many at most.", def: projections.DefaultLimit}
	paramFrom   = param{name: "from", schema: "time", about: "From this time or day (UTC) on; whole hours."}
	paramTo     = param{name: "to", schema: "time", about: "Up to, and without, this time or day (UTC); whole hours."}

	transactionStatuses = []any{domain.StatusPending, domain.StatusCompleted, domain.StatusVoided, domain.StatusFailed, domain.StatusPartiallyRefunded, domain.StatusRefunded}
	transactionKinds    = []any{domain.KindSale, domain.KindPurchase}
	transferStatuses    = []any{domain.TransferStateDispatched, domain.TransferStateInTransit, domain.TransferStateReceived, domain.TransferStateCancelled, domain.TransferStateRefused}
	transferDirections  = []any{projections.TransfersIn, projections.TransfersOut}
	buckets             = []any{projections.BucketHour, projections.BucketDay}
)

// queryRoutes is every read model that HTTP gives.
var queryRoutes = []queryRoute{
	{
		path: "/api/branches", summary: "List the branches: one's own", least: domain.RoleStaff,
		params: []param{paramCursor, paramLimit},
		reads:  []string{projections.Branches}, answer: reflect.TypeFor[projections.Page[projections.Branch]](), serve: listBranches,
	},
	{
		path: "/api/branches/{b}", summary: "One branch", least: domain.RoleStaff,
		reads: []string{projections.Branches}, answer: reflect.TypeFor[projections.Branch](), serve: oneBranch,
	},
	{
		path: "/api/branches/{b}/products", summary: "List the products of a branch", least: domain.RoleStaff,
		params: []param{{name: "q", schema: "text", about: "Look for this in SKU and name."}, paramCursor, paramLimit},
		reads:  []string{projections.Inventory, projections.Branches}, answer: reflect.TypeFor[projections.Page[domain.Product]](), serve: listProducts,
	},
	{
		path: "/api/branches/{b}/products/{p}", summary: "One product", least: domain.RoleStaff,
		reads: []string{projections.Inventory, projections.Branches}, answer: reflect.TypeFor[domain.Product](), serve: oneProduct,
	},
	{
		path: "/api/branches/{b}/products/{p}/ledger", summary: "Why the stock of a product is what it is: every change, newest first", least: domain.RoleStaff,
		params: []param{{name: "asOf", schema: "text", about: "Tell it as of this position, time or day (UTC)."}, paramCursor, paramLimit},
		reads:  []string{projections.Inventory, projections.Branches}, answer: reflect.TypeFor[projections.Ledger](), serve: ledger,
	},
	{
		path: "/api/branches/{b}/inventory", summary: "Stock levels of a branch", least: domain.RoleStaff,
		params: []param{{name: "lowStock", schema: "boolean", about: "Only products at or below their minimum.", def: false}, paramCursor, paramLimit},
		reads:  []string{projections.Inventory, projections.Branches}, answer: reflect.TypeFor[projections.Page[projections.Level]](), serve: levels,
	},
	{
		path: "/api/branches/{b}/transactions", summary: "List the transactions of a branch, newest first", least: domain.RoleStaff,
		params: []param{
			{name: "status", schema: "text", enum: transactionStatuses, about: "Only those in this status."},
			{name: "kind", schema: "text", enum: transactionKinds, about: "Only those of this kind."},
			paramCursor, paramLimit,
		},
		reads: []string{projections.Transactions, projections.Branches}, answer: reflect.TypeFor[projections.Page[projections.Transaction]](), serve: listTransactions,
	},
	{
		path: "/api/branches/{b}/transactions/{t}", summary: "One transaction, with its changes of status", least: domain.RoleStaff,
		reads: []string{projections.Transactions, projections.Branches}, answer: reflect.TypeFor[projections.Transaction](), serve: oneTransaction,
	},
	{
		path: "/api/branches/{b}/transfers", summary: "List the transfers from and to a branch, newest first", least: domain.RoleManager,
		params: []param{
			{name: "direction", schema: "text", enum: transferDirections, about: "Only those to the branch (in) or from it (out)."},
			{name: "status", schema: "text", enum: transferStatuses, about: "Only those in this status."},
			paramCursor, paramLimit,
		},
		reads: []string{projections.Transfers, projections.Branches}, answer: reflect.TypeFor[projections.Page[projections.Transfer]](), serve: listTransfers,
	},
	{
		path: "/api/branches/{b}/transfers/{id}", summary: "One transfer, from or to the branch", least: domain.RoleManager,
		reads: []string{projections.Transfers, projections.Branches}, answer: reflect.TypeFor[projections.Transfer](), serve: oneTransfer,
	},
	{
		path: "/api/notifications", summary: "One's own unread notifications, oldest first", least: domain.RoleStaff,
		params: []param{paramCursor, paramLimit},
		reads:  []string{projections.Notifications}, answer: reflect.TypeFor[EventPage](), serve: notifications,
	},
	{
		path: "/api/branches/{b}/alerts", summary: "Open low-stock alerts of a branch", least: domain.RoleManager,
		params: []param{paramCursor, paramLimit},
		reads:  []string{projections.Alerts, projections.Branches}, answer: reflect.TypeFor[projections.Page[projections.Alert]](), serve: alerts,
	},
	{
		path: "/api/branches/{b}/stats", summary: "Sales of a branch by hour or day, top products and the value of the stock", least: domain.RoleManager,
		params: []param{
			paramFrom, paramTo,
			{name: "bucket", schema: "text", enum: buckets, about: "Size of a bucket.", def: projections.BucketHour},
			{name: "top", schema: "limit", about: "How many top products.", def: 10},
		},
		reads: []string{projections.Stats, projections.Branches}, answer: reflect.TypeFor[projections.BranchStats](), serve: branchStats,
	},
	{
		path: "/api/stats", summary: "Sales of all branches", least: domain.RoleAdmin,
		params: []param{paramFrom, paramTo},
		reads:  []string{projections.Stats}, answer: reflect.TypeFor[projections.Totals](), serve: totals,
	},
	{
		path: "/api/events", summary: "The log itself: events in log order, as far as one may see them", least: domain.RoleManager,
		params: []param{
			{name: "after", schema: "position", about: "Only events after this position."},
			{name: "branch", schema: "id", about: "Only events of this branch."},
			{name: "type", schema: "text", enum: eventTypes, about: "Only events of this type."},
			paramLimit,
		},
		answer: reflect.TypeFor[EventPage](), serve: events,
	},
	{
		path: "/api/projections", summary: "How far each read model is", least: domain.RoleAdmin,
		answer: reflect.TypeFor[projections.Page[projections.Status]](), serve: projectionStatus,
	},
	{
		path: "/api/projections/{name}", summary: "How far one read model is, and what is rebuilt of it", least: domain.RoleAdmin,
		answer: reflect.TypeFor[projections.Status](), serve: oneProjection,
	},
	{
		path: "/api/projections/{name}/parked", summary: "Commits that a read model could not fold, and those that wait behind them", least: domain.RoleAdmin,
		params: []param{paramCursor, paramLimit},
		answer: reflect.TypeFor[projections.Page[projections.Parked]](), serve: listParked,
	},
	{
		path: "/api/projections/{name}/digests", summary: "Digests of a read model by position, to compare nodes and days", least: domain.RoleAdmin,
		answer: reflect.TypeFor[projections.Page[projections.NotedDigest]](), serve: listDigests,
	},
	{
		path: "/api/connections", summary: "Who is connected, where, how far behind", least: domain.RoleAdmin,
		answer: reflect.TypeFor[projections.Page[actors.ConnectionInfo]](), serve: connections,
	},
	{
		path: "/api/rooms", summary: "Rooms that live on this node", least: domain.RoleAdmin,
		answer: reflect.TypeFor[projections.Page[actors.RoomInfo]](), serve: rooms,
	},
}

func (q *query) cursor() (string, int) {
	cursor := q.values.Get(paramCursor.name)
	if len(cursor) > 1024 {
		q.fail(paramCursor.name, "is not one that this list gave")
	}
	return cursor, q.limit(paramLimit.name, projections.MaxLimit)
}

func listBranches(a *api, q *query) (any, error) {
	var s projections.BranchesQuery
	s.Cursor, s.Limit = q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	if q.id.Role != domain.RoleAdmin {
		s.Only = append([]string{}, q.id.Branches...)
	}
	p, err := a.cfg.Read.Branches(q.ctx, s)
	if p.Items == nil {
		p.Items = []projections.Branch{}
	}
	return p, err
}

func oneBranch(a *api, q *query) (any, error) {
	b, pos, err := a.cfg.Read.Branch(q.ctx, q.branch())
	return one(a, q, b, pos, err, domain.CodeUnknownBranch, "branch", q.branch())
}

func listProducts(a *api, q *query) (any, error) {
	s := projections.ProductsQuery{BranchID: q.branch(), Q: q.text("q")}
	s.Cursor, s.Limit = q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	p, err := a.cfg.Read.Products(q.ctx, s)
	return page(a, q, p, err)
}

func oneProduct(a *api, q *query) (any, error) {
	p, pos, err := a.cfg.Read.Product(q.ctx, q.branch(), q.path("p"))
	if err == nil && p.Deleted {
		q.at(pos)
		return nil, domain.Reject(domain.CodeUnknownProduct, "product %q was deleted", q.path("p"))
	}
	return one(a, q, p.Product, pos, err, domain.CodeUnknownProduct, "product", q.path("p"))
}

func ledger(a *api, q *query) (any, error) {
	s := projections.LedgerQuery{BranchID: q.branch(), ProductID: q.path("p")}
	s.Cursor, s.Limit = q.cursor()
	if q.has("asOf") {
		asOf := q.values.Get("asOf")
		if pos, err := domain.ParsePosition(asOf); err == nil {
			s.AsOfPosition = &pos
		} else if t, ok := parseTime(asOf); ok {
			s.AsOfTime = &t
		} else {
			q.fail("asOf", "is neither a position nor a time such as 2026-01-31T12:00:00Z")
		}
	}
	if err := q.err(); err != nil {
		return nil, err
	}
	l, err := a.cfg.Read.Ledger(q.ctx, s)
	if errors.Is(err, domain.ErrUnknownPosition) || errors.Is(err, domain.ErrTrimmed) {
		return nil, domain.Invalid(domain.FieldError{Field: "asOf", Message: "is not a position of this log"})
	}
	if l.Items == nil {
		l.Items = []projections.LedgerEntry{}
	}
	return one(a, q, l, l.Pos, err, domain.CodeUnknownProduct, "product", s.ProductID)
}

func levels(a *api, q *query) (any, error) {
	s := projections.LevelsQuery{BranchID: q.branch(), LowStock: q.boolean("lowStock")}
	s.Cursor, s.Limit = q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	p, err := a.cfg.Read.Levels(q.ctx, s)
	return page(a, q, p, err)
}

func listTransactions(a *api, q *query) (any, error) {
	s := projections.TransactionsQuery{BranchID: q.branch(), Status: q.oneOf("status", transactionStatuses), Kind: q.oneOf("kind", transactionKinds)}
	s.Cursor, s.Limit = q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	p, err := a.cfg.Read.Transactions(q.ctx, s)
	return page(a, q, p, err)
}

func oneTransaction(a *api, q *query) (any, error) {
	t, pos, err := a.cfg.Read.Transaction(q.ctx, q.branch(), q.path("t"))
	return one(a, q, t, pos, err, domain.CodeUnknownTransaction, "transaction", q.path("t"))
}

func listTransfers(a *api, q *query) (any, error) {
	s := projections.TransfersQuery{BranchID: q.branch(), Direction: q.oneOf("direction", transferDirections), Status: q.oneOf("status", transferStatuses)}
	s.Cursor, s.Limit = q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	p, err := a.cfg.Read.Transfers(q.ctx, s)
	return page(a, q, p, err)
}

func oneTransfer(a *api, q *query) (any, error) {
	t, pos, err := a.cfg.Read.Transfer(q.ctx, q.branch(), q.path("id"))
	return one(a, q, t, pos, err, domain.CodeUnknownTransfer, "transfer", q.path("id"))
}

func notifications(a *api, q *query) (any, error) {
	s := projections.NotificationsQuery{UserID: q.id.UserID}
	s.Cursor, s.Limit = q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	p, err := a.cfg.Read.Notifications(q.ctx, s)
	return EventPage{Items: some(p.Items), NextCursor: p.NextCursor, Pos: p.Pos}, err
}

func alerts(a *api, q *query) (any, error) {
	s := projections.AlertsQuery{BranchID: q.branch()}
	s.Cursor, s.Limit = q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	p, err := a.cfg.Read.OpenAlerts(q.ctx, s)
	return page(a, q, p, err)
}

func branchStats(a *api, q *query) (any, error) {
	s := projections.StatsQuery{
		BranchID: q.branch(), From: q.time("from"), To: q.time("to"),
		Bucket: q.oneOf("bucket", buckets), Top: q.limit("top", projections.MaxLimit),
	}
	q.period(s.From, s.To)
	if err := q.err(); err != nil {
		return nil, err
	}
	stats, err := a.cfg.Read.BranchStats(q.ctx, s)
	if err != nil {
		return nil, err
	}
	if len(stats.Items) == 0 {
		if err := a.unknownBranch(q); err != nil {
			return nil, err
		}
	}
	stats.Items, stats.Top, stats.StockValue = some(stats.Items), some(stats.Top), some(stats.StockValue)
	return stats, nil
}

func totals(a *api, q *query) (any, error) {
	from, to := q.time("from"), q.time("to")
	q.period(from, to)
	if err := q.err(); err != nil {
		return nil, err
	}
	t, err := a.cfg.Read.Totals(q.ctx, from, to)
	t.Items = some(t.Items)
	return t, err
}

func (q *query) period(from, to time.Time) {
	if !from.IsZero() && !to.IsZero() && !to.After(from) {
		q.fail("to", "must be after from")
	}
}

func projectionStatus(a *api, _ *query) (any, error) {
	return projections.Page[projections.Status]{Items: some(a.cfg.Read.Status()), Pos: a.cfg.Log.Head()}, nil
}

func connections(a *api, _ *query) (any, error) {
	items := some(a.cfg.Sockets.Connections())
	for i := range items {
		items[i].Rooms = some(items[i].Rooms)
	}
	slices.SortFunc(items, func(x, y actors.ConnectionInfo) int { return strings.Compare(x.SID, y.SID) })
	return projections.Page[actors.ConnectionInfo]{Items: items, Pos: a.cfg.Log.Head()}, nil
}

func rooms(a *api, _ *query) (any, error) {
	items := some(a.cfg.Sockets.RoomInfos())
	slices.SortFunc(items, func(x, y actors.RoomInfo) int { return strings.Compare(x.Room, y.Room) })
	return projections.Page[actors.RoomInfo]{Items: items, Pos: a.cfg.Log.Head()}, nil
}

// some is s, and an empty list where there is none: lists are never null.
func some[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
