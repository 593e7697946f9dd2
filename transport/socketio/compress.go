package socketio

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// compressFrom is the size of a body from which on gzip is worth it.
const compressFrom = 1024

var compressors = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a valid level
	return w
}}

// compress packs a body if it is large and the client takes gzip.
func compress(h http.Header, r *http.Request, body []byte) ([]byte, error) {
	h.Add("Vary", "Accept-Encoding")
	if len(body) < compressFrom || !acceptsGzip(r.Header.Values("Accept-Encoding")) {
		return body, nil
	}
	var packed bytes.Buffer
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&packed)
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("gzip a body: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("gzip a body: %w", err)
	}
	h.Set("Content-Encoding", "gzip")
	return packed.Bytes(), nil
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3).
func acceptsGzip(values []string) bool {
	for _, value := range values {
		for coding := range strings.SplitSeq(value, ",") {
			name, parameter, _ := strings.Cut(coding, ";")
			if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") {
				continue
			}
			q, weighed := strings.CutPrefix(strings.TrimSpace(parameter), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !weighed || err == nil && weight > 0
		}
	}
	return false
}
