package domain

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// marshal is json.Marshal without HTML escaping: clients get names as typed.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// appender is a payload or result on the way of most commands, which encodes
// itself several times faster than marshal, to the same bytes (a test compares
// them).
type appender interface {
	appendJSON(dst []byte) []byte
}

func encode(v any) ([]byte, error) {
	if a, ok := v.(appender); ok {
		return a.appendJSON(make([]byte, 0, 256)), nil
	}
	return marshal(v)
}

func (p InventoryUpdated) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"productId":`, p.ProductID)
	dst = appendText(dst, `,"sku":`, p.SKU)
	dst = appendInt(dst, `,"delta":`, p.Delta)
	dst = appendInt(dst, `,"stock":`, p.Stock)
	dst = appendInt(dst, `,"minStock":`, p.MinStock)
	dst = appendInt(dst, `,"version":`, p.Version)
	dst = appendText(dst, `,"reason":`, p.Reason)
	if p.Ref != "" {
		dst = appendText(dst, `,"ref":`, p.Ref)
	}
	if p.TransactionID != "" {
		dst = appendText(dst, `,"transactionId":`, p.TransactionID)
	}
	return append(dst, '}')
}

func (p TransactionCreated) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"transactionId":`, p.TransactionID)
	dst = appendText(dst, `,"kind":`, p.Kind)
	dst = appendText(dst, `,"status":`, p.Status)
	dst = append(dst, `,"lines":[`...)
	for i, l := range p.Lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, `{"productId":`, l.ProductID)
		dst = appendInt(dst, `,"quantity":`, l.Quantity)
		dst = appendInt(dst, `,"unitPriceMinor":`, l.UnitPriceMinor)
		dst = append(dst, '}')
	}
	dst = appendInt(dst, `],"totalMinor":`, p.TotalMinor)
	dst = appendText(dst, `,"currency":`, p.Currency)
	if p.DeviceID != "" {
		dst = appendText(dst, `,"deviceId":`, p.DeviceID)
	}
	dst = appendText(dst, `,"occurredAt":`, p.OccurredAt)
	return append(dst, '}')
}

func (r TransactionResult) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"transactionId":`, r.TransactionID)
	dst = appendText(dst, `,"status":`, r.Status)
	dst = appendInt(dst, `,"totalMinor":`, r.TotalMinor)
	dst = appendText(dst, `,"currency":`, r.Currency)
	return append(dst, '}')
}

func (r StockResult) appendJSON(dst []byte) []byte {
	dst = appendText(dst, `{"productId":`, r.ProductID)
	dst = appendInt(dst, `,"stock":`, r.Stock)
	dst = appendInt(dst, `,"version":`, r.Version)
	return append(dst, '}')
}

func appendText(dst []byte, key, value string) []byte {
	return appendJSONString(append(dst, key...), value)
}

func appendInt(dst []byte, key string, value int64) []byte {
	return strconv.AppendInt(append(dst, key...), value, 10)
}

// appendJSONString appends what marshal makes of a string.
func appendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x80 || c == '"' || c == '\\' {
			b, err := marshal(s)
			if err != nil { // a string always marshals
				panic(err)
			}
			return append(dst, b...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// uuid7 makes a UUIDv7 (RFC 9562, 5.7) of a time and 74 of 80 random bits.
func uuid7(at time.Time, random [10]byte) string {
	ms := uint64(at.UnixMilli())
	var u [16]byte
	for i := range 6 {
		u[i] = byte(ms >> (8 * (5 - i)))
	}
	copy(u[6:], random[:])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[0:8], u[0:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:36], u[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
