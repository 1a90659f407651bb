package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/internal/broker"
)

// listen opens a port; setting is the name of what chose it.
func listen(ctx context.Context, setting, host string, port int) (net.Listener, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		if _, ok := errors.AsType[*net.DNSError](err); ok || errors.Is(err, syscall.EADDRNOTAVAIL) {
			return nil, fmt.Errorf("HOST: %s is no address of this machine (%w); use one that "+
				"is, such as 127.0.0.1, or 0.0.0.0 for all", host, err)
		}
		return nil, fmt.Errorf(
			"%s: cannot listen on %s (%w); stop what uses it or choose another %s", setting, addr,
			err, setting,
		)
	}
	return l, nil
}

// listenMQTT opens the ports of the embedded broker, if that is what gateways connect to.
func listenMQTT(ctx context.Context, cfg *configs.Config) (ls broker.Listeners, err error) {
	if !cfg.OwnBroker() {
		return ls, nil
	}
	defer func() {
		if err != nil {
			ls.Close()
		}
	}()
	host := cfg.BrokerHost()
	if cfg.Broker.Plain {
		if ls.Plain, err = listen(ctx, "MQTT_PORT", host, cfg.MQTT.Port); err != nil {
			return ls, err
		}
	}
	if cfg.Broker.TLSPort != 0 {
		if ls.TLS, err = listen(ctx, "OEI_BROKER_TLS_PORT", host,
			max(cfg.Broker.TLSPort, 0)); err != nil {
			return ls, err
		}
	}
	if cfg.Broker.WebSocketPort != 0 {
		ls.WebSocket, err = listen(ctx, "OEI_BROKER_WEBSOCKET_PORT", host,
			max(cfg.Broker.WebSocketPort, 0))
	}
	return ls, err
}
