package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/internal/origin"
)

// Config says where the broker listens and what it accepts.
type Config struct {
	// address to listen on; empty: the address of the API
	Host           string `mapstructure:"host"`
	Plain          bool   `mapstructure:"plain"`           // listen without TLS
	TLSPort        int    `mapstructure:"tls_port"`        // 0: none; AnyPort
	TLSCertificate string `mapstructure:"tls_certificate"` // file
	TLSKey         string `mapstructure:"tls_key"`         // file
	// file; a client certificate signed by one of these replaces the password
	TLSClientCA string `mapstructure:"tls_client_ca"`
	// 0: none; AnyPort. It uses TLS when there is a certificate
	WebSocketPort  int      `mapstructure:"websocket_port"`
	AllowedOrigins []string `mapstructure:"allowed_origins"` // in addition to its own

	MaxConnections           int `mapstructure:"max_connections"`
	MaxConnectionsPerAddress int `mapstructure:"max_connections_per_address"`
	// until the CONNECT has arrived
	ConnectTimeout time.Duration `mapstructure:"connect_timeout"`
	// after which a client that does not read is disconnected
	WriteTimeout time.Duration `mapstructure:"write_timeout"`
	// in-flight window of a client: publishes that are not yet acknowledged
	ReceiveMaximum int `mapstructure:"receive_maximum"`
	MaxPacket      int `mapstructure:"max_packet"` // bytes
}

// AnyPort stands for any free port.
const AnyPort = -1

// DefaultConfig suits some thousand gateways.
func DefaultConfig() Config {
	return Config{
		Plain:                    true,
		MaxConnections:           10_000,
		MaxConnectionsPerAddress: 10_000,
		ConnectTimeout:           10 * time.Second,
		WriteTimeout:             30 * time.Second,
		ReceiveMaximum:           1024,
		MaxPacket:                1<<20 + 1<<10,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	atLeast := func(name string, value, minimum int) {
		if value < minimum {
			errs = append(errs,
				fmt.Errorf("%s: %d is too small; use %d or more", name, value, minimum))
		}
	}
	atLeast("OEI_BROKER_MAX_CONNECTIONS", c.MaxConnections, 1)
	atLeast("OEI_BROKER_MAX_CONNECTIONS_PER_ADDRESS", c.MaxConnectionsPerAddress, 1)
	atLeast("OEI_BROKER_MAX_PACKET", c.MaxPacket, 1<<10)
	if c.MaxPacket > 1<<28 {
		errs = append(errs,
			fmt.Errorf("OEI_BROKER_MAX_PACKET: %d is more than MQTT allows; "+
				"use 268435456 or less", c.MaxPacket))
	}
	if c.ReceiveMaximum < 1 || c.ReceiveMaximum > 65535 {
		errs = append(errs,
			fmt.Errorf("OEI_BROKER_RECEIVE_MAXIMUM: %d is out of range; use 1 to 65535",
				c.ReceiveMaximum))
	}
	if c.ConnectTimeout < time.Second || c.WriteTimeout < time.Second {
		errs = append(errs,
			errors.New("OEI_BROKER_CONNECT_TIMEOUT and OEI_BROKER_WRITE_TIMEOUT: "+
				"too short; use 1s or more"))
	}
	port := func(name string, port int) {
		if port < AnyPort || port > 65535 {
			errs = append(errs,
				fmt.Errorf("%s: %d is not a port; use 1 to 65535, or 0 for none", name, port))
		}
	}
	port("OEI_BROKER_TLS_PORT", c.TLSPort)
	port("OEI_BROKER_WEBSOCKET_PORT", c.WebSocketPort)
	if !c.Plain && c.TLSPort == 0 && c.WebSocketPort == 0 {
		errs = append(errs,
			errors.New("OEI_BROKER_PLAIN: false leaves no port open; "+
				"set OEI_BROKER_TLS_PORT or OEI_BROKER_WEBSOCKET_PORT"))
	}
	errs = append(errs, origin.Check("OEI_BROKER_ALLOWED_ORIGINS", c.AllowedOrigins),
		c.validateTLS())
	return errors.Join(errs...)
}
