// For unit tests of programs that use the client: a fake server by operation, and a fake WebSocket.
export {
  answer,
  problem,
  type Answer,
  type AnswerOptions,
  type ProblemAnswer,
  type ProblemOptions,
} from './testing/answer.js';
export type { FakeRequest, OperationName } from './testing/operations.js';
export {
  fakeServer,
  type FakeCall,
  type FakeServer,
  type FakeServerOptions,
  type Handler,
  type Handlers,
} from './testing/server.js';
export {
  fakeSocket,
  type FakeConnection,
  type FakeSocket,
  type FakeSocketOptions,
} from './testing/socket.js';
