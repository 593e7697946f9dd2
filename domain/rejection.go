package domain

import "fmt"

// Reject codes: part of the interface.
const (
	CodeInsufficientStock   = "insufficient_stock"
	CodeVersionConflict     = "version_conflict"
	CodeUnknownProduct      = "unknown_product"
	CodeUnknownTransaction  = "unknown_transaction"
	CodeUnknownUser         = "unknown_user"
	CodeUnknownTransfer     = "unknown_transfer"
	CodeProductDeleted      = "product_deleted"
	CodeDuplicateSKU        = "duplicate_sku"
	CodeUnknownBranch       = "unknown_branch"
	CodeBranchClosed        = "branch_closed"
	CodeBranchForbidden     = "branch_forbidden"
	CodeRoleForbidden       = "role_forbidden"
	CodeInvalidTransition   = "invalid_transition"
	CodeOverRefund          = "over_refund"
	CodeIdempotencyMismatch = "idempotency_mismatch"
	CodeOccurredAtInvalid   = "occurred_at_invalid"
	CodeInvalidQuantity     = "invalid_quantity"
	CodeOverflow            = "overflow"
	CodeBatchTooLarge       = "batch_too_large"
	CodeTransferState       = "transfer_state"
	CodeValidation          = "validation"
	CodeBusy                = "busy"
	CodeLogUnavailable      = "log_unavailable"
	CodeUnauthorized        = "unauthorized"
	CodeTokenExpired        = "token_expired"
	CodeForbiddenNamespace  = "forbidden_namespace"
	CodeRateLimited         = "rate_limited"
	CodeOverloaded          = "overloaded"
	CodeDraining            = "draining"
)

// Rejection is the answer "no": a command that has no effect and leaves no
// trace in the log. It is for the caller, unlike an error that is a fault.
type Rejection struct {
	// Code is one of the Code… constants.
	Code string
	// Message says it to a person, and what to do next.
	Message string
	// Details are the code's further members in the answer, for instance
	// "lines" of insufficient_stock. Keys are as on the wire.
	Details map[string]any
}

// Error makes a Rejection an error.
func (r *Rejection) Error() string { return r.Code + ": " + r.Message }

// Reject makes a Rejection without details.
func Reject(code, format string, args ...any) *Rejection {
	return &Rejection{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldError is one entry of validation's errors[].
type FieldError struct {
	// Field is the JSON path in the body, for instance "lines[2].quantity".
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Invalid makes a validation rejection that names each field.
func Invalid(errs ...FieldError) *Rejection {
	r := Reject(CodeValidation, "the body is not valid: %d field(s), see errors", len(errs))
	r.Details = map[string]any{"errors": errs}
	return r
}
