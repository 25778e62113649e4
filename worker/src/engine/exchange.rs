//! The service that other workers' tasks subscribe at.
use regent_protocol::v1::data_plane_server::DataPlane;
use regent_protocol::v1::{Frame, SubscribeRequest};
use tonic::{Request, Response, Status};

/// Hands the output of this worker's tasks to subscribing tasks of other workers.
#[derive(Debug)]
pub struct DataPlaneService {}

#[tonic::async_trait]
impl DataPlane for DataPlaneService {
    type SubscribeStream = futures::stream::BoxStream<'static, Result<Frame, Status>>;

    async fn subscribe(
        &self,
        _request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::not_found("no such task"))
    }
}
