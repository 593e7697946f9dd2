package plainws

import (
	"testing"

	"bms/transport/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
