package httpapi

import (
	"log/slog"
	"net/http"
	"time"

	"bms/domain"
)

const (
	maxHeaders     = 100
	maxHeaderBytes = 24 << 10 // a token of 8 KB, and room
)

// NewServer returns a server for a handler that is open to the world: a header
// must arrive within 5 seconds, with at most 100 fields of 24 KB together; a
// connection may rest for 2 minutes between requests. Bodies and answers are
// bounded by their handlers, since sockets and long polls last.
func NewServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fields := 0
			for _, values := range r.Header {
				fields += len(values)
			}
			if fields > maxHeaders {
				w.Header().Set("Connection", "close")
				writeProblem(w, domain.Reject(codeHeaderTooLarge, "%d header fields, at most %d are taken", fields, maxHeaders))
				return
			}
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
