package eventlog

import (
	"testing"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
	"bms/transport/leaktest"
)

func TestMain(m *testing.M) {
	shim.once.Do(shim.install) // before another VFS is put over it
	leaktest.Main(m)
}

func TestContract(t *testing.T) {
	for name, config := range map[string]Config{
		"fsync":   {Durability: Fsync},
		"relaxed": {Durability: Relaxed},
		// Nothing is kept in memory: all reads come from the file.
		"from_the_file": {RecentCommits: 1, RecentBytes: 1, Streams: 1, Readers: 1},
	} {
		t.Run(name, func(t *testing.T) {
			eventlogtest.Test(t, func(t *testing.T) eventlogtest.Opened {
				config := config
				config.Dir = t.TempDir()
				l := open(t, config)
				shut := func() {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				}
				return eventlogtest.Opened{
					Log:   l,
					Close: shut,
					Reopen: func() domain.Log {
						shut()
						l = open(t, config)
						return l
					},
				}
			})
		})
	}
}
