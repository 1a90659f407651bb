package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/internal/app"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/simulator"
	"github.com/oei-ms/oei-ms/store"
)

// demo runs the server together with a simulated plant. It logs warnings and errors only, unless
// the settings ask for more.
func (p *program) demo(ctx context.Context, cfg *configs.Config) error {
	if cfg.Log.Level == "info" && !cfg.Debug {
		cfg.Log.Level = "warn"
	}
	log := cfg.Logger(p.errOut)
	cfg.DataDir = demoDataDir(cfg.DataDir)
	cfg.Broker.Plain = true // for the plant
	cfg.Cluster.DataDir = filepath.Join(cfg.DataDir, "postgres")
	return app.Run(ctx, cfg, log, build(), func(ctx context.Context, r app.Running) error {
		password, err := demoUser(ctx, r.Store, cfg.DataDir)
		if err != nil {
			return err
		}
		p.greet(cfg, r)
		p.tour(r, password)
		c := simulator.DefaultConfig()
		c.API, c.Username, c.Password, c.Out = localURL(r.API), demoUsername, password, p.out
		c.MQTT = "mqtt://" + cfg.MQTT.Host + ":" + strconv.Itoa(cfg.MQTT.Port)
		if r.MQTT.Plain != nil {
			c.MQTT = "mqtt://" + local(r.MQTT.Plain.Addr())
		}
		return simulator.Run(ctx, c, log)
	})
}

const demoUsername = "demo"

// demoDataDir is where the demo keeps its data, given the setting DATA_DIR.
func demoDataDir(dataDir string) string { return filepath.Join(dataDir, "demo") }

// demoUser returns the password of the demo user, who is created when missing. It stays the same
// from one start to the next, so that sessions stay valid.
func demoUser(ctx context.Context, st *store.Store, dataDir string) (string, error) {
	password, err := demoPassword(filepath.Join(dataDir, "password"))
	if err != nil {
		return "", err
	}
	u, err := st.UserByName(ctx, demoUsername)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	isNew := err != nil
	if !isNew {
		if ok, err := auth.VerifyPassword(u.PasswordHash, password); err != nil || ok {
			return password, err
		}
	}
	hash, err := auth.HashPassword(password)
	if err != nil {
		return "", err
	}
	if !isNew {
		return password, st.SetPassword(ctx, u.ID, hash, "")
	}
	_, err = st.CreateUser(ctx, store.User{
		Username:     demoUsername,
		Email:        demoUsername + "@localhost",
		PasswordHash: hash,
		Role:         store.Engineer,
		IsActive:     true,
	})
	return password, err
}

// demoPassword reads the password of the demo user from a file that only its owner may read, or
// makes both.
func demoPassword(file string) (string, error) {
	text, err := os.ReadFile(file)
	if password := strings.TrimSpace(string(text)); err == nil && password != "" {
		return password, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	password := auth.NewPassword()
	return password, os.WriteFile(file, []byte(password+"\n"), 0o600)
}

// tour prints how to see the readings of the simulated plant.
func (p *program) tour(r app.Running, password string) {
	fmt.Fprintf(p.out, `  A simulated plant publishes every second.
  Log in to %[1]s/docs as %[2]s / %[3]s, or in a terminal:

    TOKEN=$(curl -s %[1]s/api/auth/login -d username=%[2]s -d password=%[3]s |
      sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    curl -H "Authorization: Bearer $TOKEN" %[1]s/api/data/latest

  Ctrl-C stops everything; the data stays for the next time.

`, localURL(r.API), demoUsername, password)
}
