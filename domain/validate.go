package domain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a body may hold, in runes and entries.
const (
	MaxCommandID = 255 // bytes
	MaxText      = 200
	MaxMessage   = 2000
	MaxLines     = 1000
	MaxBranches  = 1000
)

const (
	msgID       = "must be 1 to 64 of A-Z a-z 0-9 _ -"
	msgPosition = "must be a position, as events have it in pos"
	msgTime     = "must be a time as RFC 3339 has it, for instance 2026-01-31T12:00:00Z, of the years 1 to 9999 in UTC"
)

// Validate checks what can be told without any state: that the body is of the
// command's type, and its fields' rules. The codes are validation and
// invalid_quantity, each with errors naming the fields, and batch_too_large
// for more lines than MaxLines, or more operations or lines of them than
// MaxSyncOperations and MaxSyncLines.
func Validate(c Command) *Rejection {
	row, known := commands[c.Type]
	if !known {
		return unknownCommand()
	}
	var v validator
	v.check(validCommandID(c.ID), "commandId", "must be 1 to 255 printable ASCII characters")
	if row.inBranch {
		v.id("branchId", branchOf(c))
	}
	fits := false
	switch b := c.Body.(type) {
	case OpenBranch:
		fits = c.Type == CommandOpenBranch
		v.id("branchId", b.BranchID)
		v.text("name", b.Name, MaxText)
	case ChangeBranch:
		fits = c.Type == CommandChangeBranch
		v.some(b.Name != nil, b.Status != nil)
		v.optionalText("name", b.Name)
		v.optionalOneOf("status", b.Status, BranchOpen, BranchClosed)
	case CreateProduct:
		fits = c.Type == CommandCreateProduct
		v.createProduct(b)
	case ChangeProduct:
		fits = c.Type == CommandChangeProduct
		v.changeProduct(b)
	case DeleteProduct:
		fits = c.Type == CommandDeleteProduct
		v.id("productId", b.ProductID)
	case CountStock:
		fits = c.Type == CommandCountStock
		v.id("productId", b.ProductID)
		v.quantity(b.Counted >= 0, "counted", "must not be negative")
	case AdjustStock:
		fits = c.Type == CommandAdjustStock
		v.adjustment("", b.ProductID, b.Delta, b.Reason, b.Ref)
	case CreateTransaction:
		fits = c.Type == CommandCreateTransaction
		if len(b.Lines) > MaxLines {
			return tooMany("lines", len(b.Lines), MaxLines)
		}
		v.createTransaction(b)
	case SetTransactionStatus:
		fits = c.Type == CommandSetTransactionStatus
		if len(b.Lines) > MaxLines {
			return tooMany("lines", len(b.Lines), MaxLines)
		}
		v.setTransactionStatus(b)
	case AdjustStockBulk:
		fits = c.Type == CommandAdjustStockBulk
		if len(b.Lines) > MaxLines {
			return tooMany("lines", len(b.Lines), MaxLines)
		}
		v.oneOf("mode", b.Mode, BulkAtomic, BulkPerLine)
		v.check(len(b.Lines) > 0, "lines", "must have at least one line") // each is Decide's to judge
	case DispatchTransfer:
		fits = c.Type == CommandDispatchTransfer
		if len(b.Lines) > MaxLines {
			return tooMany("lines", len(b.Lines), MaxLines)
		}
		v.dispatch(b, c.BranchID)
	case ReceiveTransfer:
		fits = c.Type == CommandReceiveTransfer
		if b.Lines != nil && len(*b.Lines) > MaxLines {
			return tooMany("lines", len(*b.Lines), MaxLines)
		}
		v.receive(b)
	case CancelTransfer:
		fits = c.Type == CommandCancelTransfer
		v.transferID(b.TransferID)
	case AnnounceTransfer:
		fits = c.Type == CommandAnnounceTransfer
		v.transferID(b.TransferID)
		v.id("fromBranchId", b.FromBranchID)
		v.transferLines(b.Lines)
	case ReturnTransfer:
		fits = c.Type == CommandReturnTransfer
		v.transferID(b.TransferID)
		v.transferLines(b.Lines)
	case SubmitSync:
		fits = c.Type == CommandSubmitSync
		if r := v.sync(b); r != nil {
			return r
		}
	case SetUser:
		fits = c.Type == CommandSetUser
		v.id("userId", b.UserID)
		v.oneOf("role", b.Role, RoleAdmin, RoleManager, RoleStaff)
		v.branches(b.Branches)
		v.optional("name", b.Name)
	case ChangeUser:
		fits = c.Type == CommandChangeUser
		v.id("userId", b.UserID)
		v.some(b.Role != nil, b.Branches != nil, b.Disabled != nil, b.Name != nil)
		v.optionalOneOf("role", b.Role, RoleAdmin, RoleManager, RoleStaff)
		if b.Branches != nil {
			v.branches(*b.Branches)
		}
		if b.Name != nil {
			v.optional("name", *b.Name)
		}
	case SendNotification:
		fits = c.Type == CommandSendNotification
		v.sendNotification(b, c.At)
	case AckNotifications:
		fits = c.Type == CommandAckNotifications
		_, err := ParsePosition(b.Pos)
		v.check(err == nil, "pos", msgPosition)
	}
	if !fits {
		v = validator{}
		v.check(false, "body", "is not the body of "+c.Type)
	}
	return v.result()
}

// validator gathers what is wrong with a body.
type validator struct {
	errs       []FieldError
	quantities []FieldError // the same, under a code of their own
}

func (v *validator) result() *Rejection {
	if len(v.errs) > 0 {
		return Invalid(append(v.errs, v.quantities...)...)
	}
	if len(v.quantities) > 0 {
		r := Reject(CodeInvalidQuantity, "%s %s", v.quantities[0].Field, v.quantities[0].Message)
		r.Details = map[string]any{"errors": v.quantities}
		return r
	}
	return nil
}

func (v *validator) createProduct(b CreateProduct) {
	v.optionalID("productId", b.ProductID)
	v.text("sku", b.SKU, MaxText)
	v.text("name", b.Name, MaxText)
	v.check(b.PriceMinor >= 0, "priceMinor", "must not be negative")
	v.check(validCurrency(b.Currency), "currency", "must be an ISO 4217 code, for instance EUR")
	v.quantity(b.Stock == nil || *b.Stock >= 0, "stock", "must not be negative")
	v.quantity(b.MinStock >= 0, "minStock", "must not be negative")
	if b.NegativeStock != "" {
		v.oneOf("negativeStock", b.NegativeStock, NegativeDeny, NegativeOfflineOnly, NegativeAllow)
	}
}

func (v *validator) changeProduct(b ChangeProduct) {
	v.id("productId", b.ProductID)
	v.some(b.SKU != nil, b.Name != nil, b.PriceMinor != nil, b.Currency != nil, b.Stock != nil, b.MinStock != nil, b.NegativeStock != nil)
	v.optionalText("sku", b.SKU)
	v.optionalText("name", b.Name)
	v.check(b.PriceMinor == nil || *b.PriceMinor >= 0, "priceMinor", "must not be negative")
	v.check(b.Currency == nil || validCurrency(*b.Currency), "currency", "must be an ISO 4217 code, for instance EUR")
	v.quantity(b.Stock == nil || *b.Stock >= 0, "stock", "must not be negative")
	v.quantity(b.MinStock == nil || *b.MinStock >= 0, "minStock", "must not be negative")
	v.optionalOneOf("negativeStock", b.NegativeStock, NegativeDeny, NegativeOfflineOnly, NegativeAllow)
}

func (v *validator) adjustment(path, productID string, delta int64, reason, ref string) {
	v.id(path+"productId", productID)
	v.quantity(delta != 0 && delta != math.MinInt64, path+"delta", "must be a change, and be one that can be undone")
	v.text(path+"reason", reason, MaxText)
	v.optional(path+"ref", ref)
}

func (v *validator) createTransaction(b CreateTransaction) {
	v.optionalID("transactionId", b.TransactionID)
	v.optionalID("deviceId", b.DeviceID)
	v.oneOf("kind", b.Kind, KindSale, KindPurchase)
	v.oneOf("status", b.Status, StatusCompleted, StatusPending)
	v.transactionLines(b.Lines)
}

func (v *validator) transactionLines(lines []TransactionLine) {
	v.check(len(lines) > 0, "lines", "must have at least one line")
	for i, l := range lines {
		if !ValidID(l.ProductID) {
			v.check(false, fmt.Sprintf("lines[%d].productId", i), msgID)
		}
		if l.Quantity < 1 {
			v.quantity(false, fmt.Sprintf("lines[%d].quantity", i), "must be at least 1")
		}
		if l.UnitPriceMinor != nil && *l.UnitPriceMinor < 0 {
			v.check(false, fmt.Sprintf("lines[%d].unitPriceMinor", i), "must not be negative")
		}
	}
}

func (v *validator) setTransactionStatus(b SetTransactionStatus) {
	v.id("transactionId", b.TransactionID)
	v.oneOf("status", b.Status, StatusCompleted, StatusVoided, StatusFailed, StatusPartiallyRefunded, StatusRefunded)
	v.text("reason", b.Reason, MaxText)
	switch b.Status {
	case StatusPartiallyRefunded:
		v.check(len(b.Lines) > 0, "lines", "must say what is refunded; refunded without lines is for the rest")
	case StatusRefunded:
	default:
		v.check(len(b.Lines) == 0, "lines", "are for refunds")
	}
	for i, l := range b.Lines {
		if !ValidID(l.ProductID) {
			v.check(false, fmt.Sprintf("lines[%d].productId", i), msgID)
		}
		if l.Quantity < 1 {
			v.quantity(false, fmt.Sprintf("lines[%d].quantity", i), "must be at least 1")
		}
	}
}

func (v *validator) sendNotification(b SendNotification, now time.Time) {
	v.check(validAudience(b.Audience), "audience", "must be system:notifications, branch:{id}, user-role:{role} or notifications:{userId}")
	v.oneOf("severity", b.Severity, SeverityInfo, SeverityWarning, SeverityCritical)
	v.text("title", b.Title, MaxText)
	v.text("message", b.Message, MaxMessage)
	if b.ExpiresAt != "" {
		at, err := parseTime(b.ExpiresAt)
		v.check(err == nil, "expiresAt", msgTime)
		v.check(err != nil || at.After(now), "expiresAt", "must be in the future")
	}
}

func (v *validator) check(ok bool, field, message string) {
	if !ok && len(v.errs) < maxFieldErrors {
		v.errs = append(v.errs, FieldError{Field: field, Message: message})
	}
}

func (v *validator) quantity(ok bool, field, message string) {
	if !ok && len(v.quantities) < maxFieldErrors {
		v.quantities = append(v.quantities, FieldError{Field: field, Message: message})
	}
}

func (v *validator) id(field, value string) { v.check(ValidID(value), field, msgID) }

func (v *validator) optionalID(field, value string) {
	v.check(value == "" || ValidID(value), field, msgID)
}

func (v *validator) text(field, value string, limit int) {
	if !validText(value, limit) || strings.TrimSpace(value) == "" {
		v.check(false, field, fmt.Sprintf("must be text of 1 to %d characters, none of them a control character", limit))
	}
}

func (v *validator) optionalText(field string, value *string) {
	if value != nil {
		v.text(field, *value, MaxText)
	}
}

// optional checks a text that may be empty.
func (v *validator) optional(field, value string) {
	v.check(validText(value, MaxText), field, "must be text of at most 200 characters, none of them a control character")
}

func (v *validator) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.check(false, field, "must be one of "+strings.Join(allowed, ", "))
	}
}

func (v *validator) optionalOneOf(field string, value *string, allowed ...string) {
	if value != nil {
		v.oneOf(field, *value, allowed...)
	}
}

func (v *validator) some(given ...bool) {
	v.check(slices.Contains(given, true), "body", "must give a field to change")
}

func (v *validator) branches(ids []string) {
	v.check(len(ids) <= MaxBranches, "branches", "must be at most 1000")
	for i, id := range ids {
		if !ValidID(id) {
			v.check(false, fmt.Sprintf("branches[%d]", i), msgID)
		}
	}
}

func tooMany(what string, n, limit int) *Rejection {
	r := Reject(CodeBatchTooLarge, "%d %s, at most %d are taken; send several commands", n, what, limit)
	r.Details = map[string]any{"limit": limit}
	return r
}

func validCommandID(s string) bool {
	if len(s) < 1 || len(s) > MaxCommandID {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// validText allows line breaks where there is room for them: in messages.
func validText(s string, limit int) bool {
	return len(s) <= limit*utf8.UTFMax && utf8.ValidString(s) && utf8.RuneCountInString(s) <= limit &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && (r != '\n' || limit < MaxMessage) })
}

func validCurrency(s string) bool {
	return len(s) == 3 && !strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' })
}

// validAudience lists the rooms that a notification may go to.
func validAudience(room string) bool {
	if room == RoomNotifications {
		return true
	}
	prefix, name, _ := strings.Cut(room, ":")
	switch prefix + ":" {
	case prefixBranch, prefixNotifications:
		return ValidID(name)
	case prefixRole:
		return validRole(name)
	default:
		return false
	}
}
