// Package simulator simulates an industrial plant: it registers gateways and sensors by REST and
// publishes their readings over MQTT v5. It uses only the public interfaces of the server.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config describes a plant and the server it reports to.
type Config struct {
	API      string // http://127.0.0.1:8000
	Username string // of a user with the role engineer
	Password string
	// mqtt://127.0.0.1:1883, or mqtts:// for TLS with a certificate the system trusts
	MQTT string

	Prefix   string        // the gateways' keys are Prefix-01, Prefix-02, …
	Gateways int           // number of gateways
	Sensors  int           // number of sensors of each gateway
	Interval time.Duration // between two readings of a sensor
	// readings of several sensors in one message; 1 publishes each under its sensor's own topic
	PerMessage int
	Seed       uint64        // of the signals; the same seed and instant give the same values
	Drain      time.Duration // how long to wait for pending acknowledgements at the end

	Out io.Writer // for the progress line and the summary; nil: neither
}

// DefaultConfig returns a small plant for a server with default settings on this machine. Username
// and Password remain to be set.
func DefaultConfig() Config {
	return Config{
		API:        "http://127.0.0.1:8000",
		MQTT:       "mqtt://127.0.0.1:1883",
		Prefix:     "plant",
		Gateways:   5,
		Sensors:    8,
		Interval:   time.Second,
		PerMessage: 1,
		Seed:       1,
		Drain:      5 * time.Second,
	}
}

var prefixPattern = regexp.MustCompile(`^[0-9]*[A-Za-z_.:-][A-Za-z0-9_.:-]{0,47}$`)

// Validate returns every fault, each with the name of the flag that sets it.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults,
			fmt.Errorf(format, args...))
	}
	address := func(name, value, form string, schemes ...string) {
		u, err := url.Parse(value)
		if err == nil && u.Host != "" {
			for _, scheme := range schemes {
				if u.Scheme == scheme {
					return
				}
			}
		}
		fault("%s: %q is not an address; use the form %s", name, value, form)
	}
	count := func(name string, value, maxValue int) {
		if value < 1 || value > maxValue {
			fault("%s: %d is out of range; use 1 to %d", name, value, maxValue)
		}
	}
	address("--api", c.API, "http://host:port", "http", "https")
	address("--mqtt", c.MQTT, "mqtt://host:port", "mqtt", "mqtts")
	if c.Username == "" {
		fault("--username: is empty; use a user with the role engineer")
	}
	if c.Password == "" {
		fault("--password: is empty; set the user's password")
	}
	if !prefixPattern.MatchString(c.Prefix) {
		fault("--prefix: %q is not valid in a gateway's key; use up to 48 of A-Z a-z 0-9 _ . : - "+
			"and not digits only", c.Prefix)
	}
	count("--gateways", c.Gateways, 100_000)
	count("--sensors", c.Sensors, 10_000)
	count("--per-message", c.PerMessage, 5_000)
	if c.Interval < time.Millisecond || c.Interval > 24*time.Hour {
		fault("--interval: %v is out of range; use 1ms to 24h", c.Interval)
	}
	if c.Drain < 0 {
		fault("--drain: %v is negative; use 0s or more", c.Drain)
	}
	return errors.Join(faults...)
}

// Run registers the plant, connects its gateways and publishes until ctx ends. Then it waits for
// pending acknowledgements, at most Drain, disconnects and prints the summary. It returns nil when
// it ended because ctx did.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	counts := newCounters(cfg.Gateways)
	gateways := make([]*gateway, cfg.Gateways)
	for i := range gateways {
		gateways[i] = newGateway(cfg, i, counts, log)
	}
	if err := registerAll(ctx, cfg, gateways); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("plant: %w", err)
	}
	fmt.Fprintf(cfg.Out, "plant: %d gateways with %d sensors each are registered at %s\n",
		cfg.Gateways, cfg.Sensors, cfg.API)

	group, running := errgroup.WithContext(ctx)
	for _, g := range gateways {
		group.Go(func() error { return g.run(running) })
	}
	published := make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		counts.show(cfg.Out, published)
	}()
	err := group.Wait()
	close(published)
	<-shown
	fmt.Fprintln(cfg.Out, counts.summary())
	if err != nil {
		return fmt.Errorf("plant: %w", err)
	}
	return nil
}

func registerAll(ctx context.Context, cfg Config, gateways []*gateway) error {
	r, err := newRegistrar(cfg)
	if err != nil {
		return err
	}
	if err := r.login(ctx); err != nil {
		return err
	}
	if err := r.register(ctx, gateways); err != nil {
		return errors.Join(err, r.logout(context.WithoutCancel(ctx)))
	}
	return r.logout(ctx)
}
