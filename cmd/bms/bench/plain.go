package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"bms/domain"
)

// plainSession is one connection over a plain WebSocket, from its beginning to
// its end.
func (s *Subscriber) plainSession(ctx context.Context) error {
	conn, resumed, err := s.dialPlain(ctx)
	if err != nil {
		return err
	}
	w := &webSocket{conn: conn}
	defer w.close()
	defer context.AfterFunc(ctx, w.close)()
	defer s.left()
	for {
		packet, err := w.next()
		if err != nil {
			return err
		}
		f, ok := parsePlain(packet)
		if !ok {
			return fmt.Errorf("%w: %.200q", errProtocol, packet)
		}
		if err := s.frame(f, resumed); err != nil {
			return err
		}
	}
}

// dialPlain connects; resumed says whether it was said where the client is.
func (s *Subscriber) dialPlain(ctx context.Context) (conn *websocket.Conn, resumed bool, err error) {
	opening, cancel := context.WithTimeout(ctx, s.dialer.timeout)
	defer cancel()
	u := *s.cfg.base
	u.Path = strings.TrimSuffix(u.Path, "/") + s.cfg.namespace
	if s.offset != "" {
		u.RawQuery, resumed = url.Values{"since": {s.offset}}.Encode(), true
	}
	conn, res, err := websocket.Dial(opening, u.String(), &websocket.DialOptions{
		HTTPClient: s.dialer.client, HTTPHeader: http.Header{"Authorization": {"Bearer " + s.cfg.token}},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err == nil {
		conn.SetReadLimit(-1)
		return conn, resumed, nil
	}
	if res == nil || res.Body == nil {
		return nil, false, err
	}
	defer res.Body.Close()
	// A refusal is a problem, as the API gives it.
	body, readErr := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	var problem struct {
		Code       string  `json:"code"`
		Detail     string  `json:"detail"`
		RetryAfter float64 `json:"retryAfter"`
	}
	if readErr != nil || json.Unmarshal(body, &problem) != nil || problem.Code == "" {
		return nil, false, err
	}
	no := &refusal{Message: problem.Detail}
	no.Data.Code, no.Data.RetryAfter = problem.Code, problem.RetryAfter
	return nil, false, no
}

// finalCloses are the close codes after which a client doesn't come back
// unchanged.
var finalCloses = []websocket.StatusCode{4400, 4401, 4403, 4409}

// plainFinal reports whether the server has closed a WebSocket for good.
func plainFinal(err error) bool {
	var closed websocket.CloseError
	return errors.As(err, &closed) && slices.Contains(finalCloses, closed.Code)
}

// parsePlain reads a message of a plain WebSocket: an envelope, or
// {"type","data","pos"?}.
func parsePlain(packet []byte) (frame, bool) {
	const tail = domain.PositionLen + len(`"}`)
	f := frame{data: packet}
	if f.isEvent() && len(packet) > tail {
		_, rest, ok := bytes.Cut(packet, []byte(`"type":"`))
		name, _, closed := bytes.Cut(rest, []byte(`"`))
		f.name, f.offset = name, packet[len(packet)-tail:len(packet)-len(`"}`)]
		return f, ok && closed
	}
	var message struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
		Pos  string          `json:"pos"`
	}
	if json.Unmarshal(packet, &message) != nil || message.Type == "" {
		return frame{}, false
	}
	f.name, f.data, f.offset = []byte(message.Type), message.Data, []byte(message.Pos)
	if message.Type == "session" {
		var s sessionInfo
		if json.Unmarshal(message.Data, &s) != nil {
			return frame{}, false
		}
		f.offset = []byte(s.Pos.String())
	}
	return f, true
}
