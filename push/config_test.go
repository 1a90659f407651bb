package push

import (
	"strings"
	"testing"
)

func TestConfigValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		want   []string // parts of the error; empty for a valid config
	}{
		"the default is good": {func(*Config) {}, nil},
		"origins are good": {
			func(c *Config) {
				c.AllowedOrigins = []string{
					"https://hmi.example", "http://localhost:5173",
				}
			},
			nil,
		},
		"an origin has no end": {
			func(c *Config) { c.AllowedOrigins = []string{"https://hmi.example/"} },
			[]string{`OEI_PUSH_ALLOWED_ORIGINS: "https://hmi.example/" is not an origin`},
		},
		"an origin is no star": {
			func(c *Config) { c.AllowedOrigins = []string{"*"} },
			[]string{"OEI_PUSH_ALLOWED_ORIGINS"},
		},
		"every fault is told": {func(c *Config) { *c = Config{} }, []string{
			"OEI_PUSH_MAX_CONNECTIONS: 0 is out of range; use 1 to 1000000",
			"OEI_PUSH_MAX_CONNECTIONS_PER_USER", "OEI_PUSH_MAX_CONNECTIONS_PER_ADDRESS",
			"OEI_PUSH_MAX_TOPICS", "OEI_PUSH_MAX_FRAME_BYTES", "OEI_PUSH_FRAMES_PER_SECOND",
			"OEI_PUSH_FRAME_BURST", "OEI_PUSH_QUEUE_SIZE",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			tt.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("Validate() = %v, want an error: %t", err, tt.want != nil)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nsays nothing of %s", err, part)
				}
			}
		})
	}
}
