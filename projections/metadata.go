package projections

import (
	"encoding/json"
	"fmt"

	"bms/domain"
)

// encodeMetadata makes a commit's metadata a column: what is made from the
// commit later goes on with its trace. NULL is none.
func encodeMetadata(c *domain.Commit) (any, error) {
	if len(c.Metadata) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(c.Metadata)
	if err != nil {
		return nil, fmt.Errorf("encode the metadata of commit %s: %w", c.Position, err)
	}
	return string(raw), nil
}

// decodeMetadata reads such a column.
func decodeMetadata(text string, into *map[string]string) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("decode the metadata of a commit: %w", err)
	}
	return nil
}
