package httpapi

import (
	"net/http"

	"bms/domain"
)

// commandRoute is a row of the table of commands.
type commandRoute struct {
	method, path string
	command      string
	status       int // on success
	// bind puts the ids of the path into the body.
	bind func(*http.Request) binder
	// branch is where the branch's id comes from; nil for none.
	branch  func(*http.Request, any) string
	summary string
	// but is what roles' text lacks: rights that depend on more than the
	// command.
	but string
}

// commandRoutes is every command that HTTP takes.
var commandRoutes = []commandRoute{
	{
		"POST", "/api/branches", domain.CommandOpenBranch, http.StatusCreated,
		nothing, func(_ *http.Request, body any) string { return body.(domain.OpenBranch).BranchID },
		"Open a branch", "",
	},
	{
		"PATCH", "/api/branches/{b}", domain.CommandChangeBranch, http.StatusOK,
		nothing, pathBranch,
		"Rename, close or reopen a branch", "",
	},
	{
		"POST", "/api/branches/{b}/products", domain.CommandCreateProduct, http.StatusCreated,
		nothing, pathBranch,
		"Create a product", "",
	},
	{
		"PATCH", "/api/branches/{b}/products/{p}", domain.CommandChangeProduct, http.StatusOK,
		fromPath("p", "productId", func(b *domain.ChangeProduct) *string { return &b.ProductID }), pathBranch,
		"Change a product", "",
	},
	{
		"DELETE", "/api/branches/{b}/products/{p}", domain.CommandDeleteProduct, http.StatusOK,
		fromPath("p", "productId", func(b *domain.DeleteProduct) *string { return &b.ProductID }), pathBranch,
		"Take a product out of the range", "",
	},
	{
		"PUT", "/api/branches/{b}/products/{p}/stock", domain.CommandCountStock, http.StatusOK,
		fromPath("p", "productId", func(b *domain.CountStock) *string { return &b.ProductID }), pathBranch,
		"Set the stock to what was counted", "",
	},
	{
		"POST", "/api/branches/{b}/inventory/adjustments", domain.CommandAdjustStock, http.StatusCreated,
		nothing, pathBranch,
		"Change the stock of a product by a difference", "",
	},
	{
		"POST", "/api/branches/{b}/inventory/adjustments/bulk", domain.CommandAdjustStockBulk, http.StatusCreated,
		nothing, pathBranch,
		"Change the stock of many products: all lines or none, or each line for itself", "",
	},
	{
		"POST", "/api/branches/{b}/transactions", domain.CommandCreateTransaction, http.StatusCreated,
		nothing, pathBranch,
		"Record a sale or a purchase: all lines or none", "",
	},
	{
		"POST", "/api/branches/{b}/transactions/{t}/status", domain.CommandSetTransactionStatus, http.StatusOK,
		fromPath("t", "transactionId", func(b *domain.SetTransactionStatus) *string { return &b.TransactionID }), pathBranch,
		"Complete, void, fail or refund a transaction", "; refunds and voids: manager, admin",
	},
	{
		"POST", "/api/branches/{b}/transfers", domain.CommandDispatchTransfer, http.StatusCreated,
		nothing, pathBranch,
		"Send products to another branch", "",
	},
	{
		"POST", "/api/branches/{b}/transfers/{id}/receive", domain.CommandReceiveTransfer, http.StatusOK,
		fromPath("id", "transferId", func(b *domain.ReceiveTransfer) *string { return &b.TransferID }), pathBranch,
		"Take in what has come of a transfer, at the branch that it goes to; without lines, all that is in transit", "",
	},
	{
		"POST", "/api/branches/{b}/transfers/{id}/cancel", domain.CommandCancelTransfer, http.StatusOK,
		fromPath("id", "transferId", func(b *domain.CancelTransfer) *string { return &b.TransferID }), pathBranch,
		"Take back what of a transfer is still in transit, at the branch that sent it", "",
	},
	{
		"POST", "/api/branches/{b}/sync", domain.CommandSubmitSync, http.StatusOK,
		nothing, pathBranch,
		"Hand in sales that a device made offline: each (deviceId, seq) takes effect once", "",
	},
	{
		"PUT", "/api/users/{u}", domain.CommandSetUser, http.StatusOK,
		fromPath("u", "userId", func(b *domain.SetUser) *string { return &b.UserID }), nil,
		"Say all that a user is; it beats what a token says", "",
	},
	{
		"PATCH", "/api/users/{u}", domain.CommandChangeUser, http.StatusOK,
		fromPath("u", "userId", func(b *domain.ChangeUser) *string { return &b.UserID }), nil,
		"Change some of what a user is", "",
	},
	{
		"POST", "/api/notifications", domain.CommandSendNotification, http.StatusCreated,
		nothing, nil,
		"Send a message to a room", "; managers to the rooms of their branches",
	},
}

// bare reports whether the body may be left out, for {}.
func (row commandRoute) bare() bool {
	return row.method == http.MethodDelete || row.command == domain.CommandReceiveTransfer || row.command == domain.CommandCancelTransfer
}

// statusOf is the status of success: what is done line by line is answered so.
func (row commandRoute) statusOf(body any) int {
	if bulk, ok := body.(domain.AdjustStockBulk); ok && bulk.Mode == domain.BulkPerLine {
		return http.StatusMultiStatus
	}
	return row.status
}

// binder puts ids into a body. It returns what is wrong with one that the body
// has in another way.
type binder func(body any) (any, *domain.FieldError)

func nothing(*http.Request) binder {
	return func(body any) (any, *domain.FieldError) { return body, nil }
}

// fromPath binds an id of the path to a body's field. A body that has the id
// as well must have the same.
func fromPath[B any](param, name string, field func(*B) *string) func(*http.Request) binder {
	return func(r *http.Request) binder {
		return func(body any) (any, *domain.FieldError) {
			b := body.(B)
			id := field(&b)
			if value := r.PathValue(param); *id == "" {
				*id = value
			} else if *id != value {
				return nil, &domain.FieldError{Field: name, Message: "is not the one of the path; leave it out"}
			}
			return b, nil
		}
	}
}

func pathBranch(r *http.Request, _ any) string { return r.PathValue("b") }

// roles says who may give the row's command, as domain's table has it.
func (row *commandRoute) roles() string {
	const branch = "b"
	may := func(role string, branches ...string) bool {
		return domain.MayCommand(domain.Identity{UserID: "u", Role: role, Branches: branches}, row.command, branch) == nil
	}
	text := "admin"
	switch {
	case may(domain.RoleStaff):
		text = "any role"
	case may(domain.RoleStaff, branch):
		text = "any role of the branch"
	case may(domain.RoleManager):
		text = "manager, admin"
	case may(domain.RoleManager, branch):
		text = "manager of the branch, admin"
	}
	return text + row.but
}
