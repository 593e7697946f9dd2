package commandbus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"bms/domain"
)

// Metadata of a command's message. What is empty is left out. The trace context
// travels under its W3C names, "traceparent" and "tracestate"; other metadata
// of the command under metaPrefix and its name.
const (
	metaCommandID   = "command_id"
	metaType        = "type"
	metaBranch      = "branch"
	metaFingerprint = "fingerprint"
	metaKeyed       = "keyed" // "true"
	metaAt          = "at"    // RFC 3339, UTC, nanoseconds
	metaUser        = "user"
	metaRole        = "role"
	metaBranches    = "branches" // ids with commas in between
	metaName        = "name"
	metaDevice      = "device"
	metaDisabled    = "disabled" // "true"
	metaPrefix      = "x-"

	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// encode makes a command a message.
func encode(uuid string, cmd *domain.Command) (*message.Message, error) {
	payload, err := json.Marshal(cmd.Body)
	if err != nil {
		return nil, fmt.Errorf("encode body of %s: %w", cmd.Type, err)
	}
	msg := message.NewMessage(uuid, payload)
	meta := make(message.Metadata, 12)
	msg.Metadata = meta
	set := func(key, value string) {
		if value != "" {
			meta[key] = value
		}
	}
	set(metaCommandID, cmd.ID)
	set(metaType, cmd.Type)
	set(metaBranch, cmd.BranchID)
	set(metaFingerprint, cmd.Fingerprint)
	set(metaAt, cmd.At.UTC().Format(time.RFC3339Nano))
	set(metaUser, cmd.Identity.UserID)
	set(metaRole, cmd.Identity.Role)
	set(metaBranches, strings.Join(cmd.Identity.Branches, ","))
	set(metaName, cmd.Identity.Name)
	set(metaDevice, cmd.Identity.DeviceID)
	if cmd.Keyed {
		meta[metaKeyed] = "true"
	}
	if cmd.Identity.Disabled {
		meta[metaDisabled] = "true"
	}
	for key, value := range cmd.Metadata {
		if key != traceparent && key != tracestate {
			key = metaPrefix + key
		}
		meta[key] = value
	}
	return msg, nil
}

// decode makes a message a command. It takes the body as it comes: the edge
// that published it has checked it (domain.DecodeBody), and only fields that
// this program doesn't know, of a newer peer, are an error.
func decode(msg *message.Message) (domain.Command, error) {
	meta := msg.Metadata
	cmd := domain.Command{
		ID: meta[metaCommandID], Keyed: meta[metaKeyed] == "true",
		Type: meta[metaType], BranchID: meta[metaBranch], Fingerprint: meta[metaFingerprint],
		Identity: domain.Identity{
			UserID: meta[metaUser], Role: meta[metaRole], Name: meta[metaName], DeviceID: meta[metaDevice],
			Disabled: meta[metaDisabled] == "true",
		},
	}
	if branches := meta[metaBranches]; branches != "" {
		cmd.Identity.Branches = strings.Split(branches, ",")
	}
	var err error
	if cmd.At, err = time.Parse(time.RFC3339Nano, meta[metaAt]); err != nil {
		return domain.Command{}, fmt.Errorf("decode time of %s: %w", cmd.Type, err)
	}
	cmd.Size = len(msg.Payload)
	if cmd.Body, err = decodeBody(cmd.Type, msg.Payload); err != nil {
		return domain.Command{}, fmt.Errorf("decode body of %q: %w", cmd.Type, err)
	}
	for key, value := range meta {
		name, ours := strings.CutPrefix(key, metaPrefix)
		if ours || key == traceparent || key == tracestate {
			if cmd.Metadata == nil {
				cmd.Metadata = make(map[string]string, 2)
			}
			cmd.Metadata[name] = value
		}
	}
	return cmd, nil
}

func decodeBody(commandType string, payload []byte) (any, error) {
	zero := domain.NewBody(commandType)
	if zero == nil {
		return nil, errors.New("unknown command type")
	}
	body := reflect.New(reflect.TypeOf(zero))
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(body.Interface()); err != nil {
		return nil, err
	}
	return body.Elem().Interface(), nil
}
