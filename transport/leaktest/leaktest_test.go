package leaktest

import (
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// It ends later than goleak by itself would wait.
func Test_who_ends_late_is_not_left_behind(t *testing.T) {
	none := Check(t)
	go func() {
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
		}
	}()
	none()
}
