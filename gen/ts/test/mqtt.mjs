// Publishes one message over MQTT 3.1.1, so that the tests need no MQTT library.
import { connect } from 'node:net';
import { once } from 'node:events';

const utf8 = (text) => {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
};

function packet(head, ...parts) {
  const body = Buffer.concat(parts);
  const length = [];
  for (let n = body.length, more = true; more; n >>= 7) {
    more = n > 127;
    length.push((n & 127) | (more ? 128 : 0));
  }
  return Buffer.concat([Buffer.from([head, ...length]), body]);
}

/** Publishes with QoS 1 and resolves after the PUBACK, which follows the COMMIT of every sample. */
export async function publish({ port, username, password, topic, payload }) {
  const socket = connect(port, '127.0.0.1');
  const next = async (head) => {
    const [data] = await once(socket, 'data');
    if (data[0] !== head) throw new Error(`the broker answered ${data.toString('hex')}`);
    return data;
  };
  try {
    await once(socket, 'connect');
    // 3.1.1, user name, password, clean session, keep-alive 60 s
    const flags = Buffer.from([4, 0b11000010, 0, 60]);
    socket.write(packet(0x10, utf8('MQTT'), flags, utf8(username), utf8(username), utf8(password)));
    if ((await next(0x20))[3] !== 0) throw new Error('the broker refuses the login');
    socket.write(packet(0x32, utf8(topic), Buffer.from([0, 1]), Buffer.from(payload)));
    await next(0x40);
  } finally {
    socket.destroy();
  }
}
