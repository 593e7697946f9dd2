package domain

import (
	"encoding/json"
	"reflect"
)

// bodies is the registry of command types and their bodies.
var bodies = map[string]reflect.Type{
	CommandOpenBranch:           reflect.TypeFor[OpenBranch](),
	CommandChangeBranch:         reflect.TypeFor[ChangeBranch](),
	CommandCreateProduct:        reflect.TypeFor[CreateProduct](),
	CommandChangeProduct:        reflect.TypeFor[ChangeProduct](),
	CommandDeleteProduct:        reflect.TypeFor[DeleteProduct](),
	CommandCountStock:           reflect.TypeFor[CountStock](),
	CommandAdjustStock:          reflect.TypeFor[AdjustStock](),
	CommandAdjustStockBulk:      reflect.TypeFor[AdjustStockBulk](),
	CommandCreateTransaction:    reflect.TypeFor[CreateTransaction](),
	CommandSetTransactionStatus: reflect.TypeFor[SetTransactionStatus](),
	CommandDispatchTransfer:     reflect.TypeFor[DispatchTransfer](),
	CommandReceiveTransfer:      reflect.TypeFor[ReceiveTransfer](),
	CommandCancelTransfer:       reflect.TypeFor[CancelTransfer](),
	CommandSubmitSync:           reflect.TypeFor[SubmitSync](),
	CommandAnnounceTransfer:     reflect.TypeFor[AnnounceTransfer](),
	CommandReturnTransfer:       reflect.TypeFor[ReturnTransfer](),
	CommandSetUser:              reflect.TypeFor[SetUser](),
	CommandChangeUser:           reflect.TypeFor[ChangeUser](),
	CommandSendNotification:     reflect.TypeFor[SendNotification](),
	CommandAckNotifications:     reflect.TypeFor[AckNotifications](),
}

// shapes is what checkJSON wants to know of the bodies.
var shapes = func() map[string]*shape {
	m := make(map[string]*shape, len(bodies))
	for name, t := range bodies {
		m[name] = shapeOf(t)
	}
	return m
}()

// NewBody returns the zero body of a command type, by value as Command.Body
// holds it; nil for an unknown type.
func NewBody(commandType string) any {
	t, ok := bodies[commandType]
	if !ok {
		return nil
	}
	return reflect.Zero(t).Interface()
}

// DecodeBody reads the body of a command, by value as Command.Body wants it.
// It is strict: unknown, duplicate and differently cased keys, null, values of
// another type, numbers beyond 64 bits, text that is not Unicode and missing
// numbers (a missing text is Validate's) are errors. The error is a
// [*Rejection] (validation) that names each field.
func DecodeBody(commandType string, raw []byte) (any, error) {
	t, ok := bodies[commandType]
	if !ok {
		return nil, unknownCommand()
	}
	if r := checkJSON(raw, shapes[commandType]); r != nil {
		return nil, r
	}
	body := reflect.New(t)
	if err := json.Unmarshal(raw, body.Interface()); err != nil {
		return nil, Invalid(FieldError{Field: "body", Message: "does not fit the schema"})
	}
	return body.Elem().Interface(), nil
}
